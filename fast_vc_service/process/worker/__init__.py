"""Work on what strangers send, in processes of their own: limited, watched and replaced."""
