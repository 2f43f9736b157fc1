from .base import Detector as Detector
from .base import DetectorOptions as DetectorOptions
from .base import StageSeconds as StageSeconds
from .loader import available_detectors as available_detectors
from .loader import load_detector as load_detector
