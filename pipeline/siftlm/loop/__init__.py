"""The loop from models to a selection: a family, small tasks, a matrix, estimates, weights, a classifier.

Each module is one command of `siftlm`, works on the configuration of a run with a few tables more (`config`), and
writes tables to the run's folder that the next command reads:

    train-family       family       store/family/          models of several sizes, diets and lengths of training
    benchmark          quiz         errors.csv             their errors on small tasks cut from held-out documents
    matrix             losses       matrix.parquet, units.parquet
    correlate          correlation  correlation/           estimates, intervals, the held-out test
    project            correlation  correlation/           weights by unit
    train-classifier   training     classifier/            a fastText model and its report
    fit-dsir           training     dsir.npz               importance weights of n-grams

Documents are split three ways by keyed hashes of doc_id: those that train the family, those that the tasks are cut
from, and the rest, which the matrix is made of and the classifier learns from.
"""
