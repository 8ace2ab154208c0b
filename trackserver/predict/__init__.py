"""Turn windows of sequence into predicted tracks. torch is imported only when something is predicted."""
