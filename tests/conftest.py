"""The real services that tests of every folder may ask for: ``postgresql_url`` and ``s3_bucket``."""

import signal

from hypothesis import settings

pytest_plugins = ["services.postgresql", "services.rgw"]

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("idac", deadline=None)
settings.load_profile("idac")

# Whoever starts the tests in the background may have SIGINT ignored, which processes pass on to those they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
