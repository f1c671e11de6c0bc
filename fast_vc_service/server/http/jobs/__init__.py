"""Files converted over HTTP: at once, or as jobs that wait, survive a restart and are fetched."""
