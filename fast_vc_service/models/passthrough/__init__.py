"""The ``passthrough`` family: a delay line that keeps the streaming contract."""
