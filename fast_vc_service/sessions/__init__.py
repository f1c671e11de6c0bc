"""One live conversation: session, recording, reports."""
