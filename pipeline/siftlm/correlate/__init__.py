"""Estimates from a matrix of bits per byte which texts are worth training on.

**Matrix.** N language models are run over D text units (domains, pages or chunks). The bits per byte of a
unit are the sum of nats over ln 2 times the sum of UTF-8 bytes of its documents, divided once and added
without rounding in between (`matrix.sum_by_unit`), so no order moves a bit of them. Exactly n pages
stand for a domain, drawn by a keyed hash; a domain with fewer is left out and counted (`pages.sample_pages`).
Chunks add up to their page (`pages.chunk_text`). Before anything is computed, models that come twice, missing
and negative values and constant rows or columns are found, reported, and removed by a stated policy
(`clean.clean_matrix`).

**Errors.** The error of a benchmark is 1 - accuracy, or its perplexity as it is; that of a group is the plain
mean over its benchmarks (`benchmarks`, `harness`). Models are matched by name; what does not match is
reported.

**Estimates.** For each unit, how well its bits per byte order the models as the benchmark does
(`estimators`): the rank and sign estimators of Thrush, Potts and Hashimoto (arXiv 2409.05816) and the
concordant pairs of PreSelect (Shum et al., arXiv 2503.00808). Ties get average ranks or count nothing; no
result depends on the order of rows.

**Trust.** Good models are good at almost everything, so most of a raw correlation is general strength. Beside
each estimate stand a percentile bootstrap interval over models and Spearman's rho given the models' mean bits
per byte; beside the prediction of held-out models (5 folds, rank R2 and Spearman) by the estimates, and by the
mean over the units they put at the top, stands that of the mean over all units (`assess`). An estimate that
does not beat this baseline says little about the text: where the estimates are nearly the same for all units,
the published prediction X g is the baseline in all but name. Resampling takes models as independent;
checkpoints of one run are not, and folds of whole families (`hold_out = "families"`) show the difference.

**Projection.** Weights maximise <g, w> (linear) or minimise |w - g|^2 (l2) subject to sum w = 1 and 0 <= w <=
tau, tau = tokens of the unit / budget: no text is drawn twice (`projection`). Caps that add up to less than 1
are an error.

**Classifier.** fastText learns the pages of included against excluded units, or labels drawn by rank, or the
top scores against the lowest (`labels`, `classifier`); newlines are blanks both in training and in
prediction; no page is both trained and tested on. Its score, cut at a token budget, is the selection. DSIR's
hashed n-gram weights (`siftlm.scorers.ngrams`) need a target corpus and no models at all.

**Proof.** Whether small runs decide as large ones: decision accuracy, signal over noise (`proving`).

Everything here is plain functions over numpy and pyarrow; fastText is imported only to train.
"""
