"""WebSocket dialects: text frames to events and back, without I/O."""
