"""Trains n-gram models with interpolated modified Kneser-Ney smoothing, in bounded memory and several processes."""
