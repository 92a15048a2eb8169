import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for fault_s3, which stands beside the tests of storage
