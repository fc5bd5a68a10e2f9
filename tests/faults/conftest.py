"""The fault runs stand beside their parts, which are no package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
