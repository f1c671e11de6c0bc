"""Data stage: synthetic parallel speech, recorded speech and their manifests."""
