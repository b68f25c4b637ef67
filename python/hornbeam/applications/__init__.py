"""Known architectures for images, with the layer names and parameters of Keras 2."""

from .inception_v3 import InceptionV3
from .resnet50 import ResNet50
from .vgg16 import VGG16
from .vgg19 import VGG19
from .xception import Xception

__all__ = ["InceptionV3", "ResNet50", "VGG16", "VGG19", "Xception"]
