"""The ``seedvc`` family: content encoder, flow-matching transformer and vocoder of Seed-VC."""
