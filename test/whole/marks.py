"""Marks that several tests bear. Apart from the harness, as programs that a test starts import that, and pytest is slow
to import."""

import pytest

from harness import has_ipv6

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this kernel has no IPv6 loopback (::1)")
