"""Estimates from a matrix of bits per byte which texts are worth training on.

The matrix has N language models and D text units (domains, pages or chunks); `clean.clean_matrix` takes out what is
wrong with it. A benchmark's error is 1 - accuracy, or its perplexity as it is; that of a group is the plain mean over
its benchmarks. For each unit, an estimate (`estimators`) says how well its bits per byte order the models as the
benchmark does.

Good models are good at almost everything, so most of a raw correlation is general strength. Beside each estimate stand
a percentile bootstrap interval over models and Spearman's rho given the models' strength, their mean rank over all
units; beside the prediction of held-out models by the estimates, and by the mean over the units they put at the top,
stands that of the mean rank among the training models, with differences paired by fold (`assess`). An estimate that
does not beat this baseline says little about the text: where the estimates are nearly the same for all units, the
published prediction X g is the baseline in all but name. Resampling
takes models as independent; checkpoints of one run are not, and folds of whole families (`hold_out = "families"`)
show the difference.
"""
