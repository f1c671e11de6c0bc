"""The process: its info file, home folder, log, certificate and version."""
