"""How alike two layers are: exact mutual k-nearest neighbours, the CKA family, SVCCA, and the permutation test."""
