"""Set-up that every test shares."""

from hypothesis import settings

# The same examples in every run: a failure is a change of the code, not of the weather.
settings.register_profile("finevox", derandomize=True, deadline=None)
settings.load_profile("finevox")
