"""What all unit tests share."""

from hypothesis import settings as hypothesis_settings

# A loaded machine is slow: no test is about time.
hypothesis_settings.register_profile("no deadline", deadline=None)
hypothesis_settings.load_profile("no deadline")
