"""The last blocks of an encoder, trained further on labelled windows."""
