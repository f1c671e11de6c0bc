"""Silero VAD: whether somebody speaks. The weights beside this file are Silero's, under MIT."""
