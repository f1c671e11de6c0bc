from hypothesis import settings

# Machines under load are slow, not wrong: no deadline, the same examples everywhere.
settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")
