"""Signal code: codecs, resampling, files; no weights."""
