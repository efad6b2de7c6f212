"""What frozen features are worth: k-NN, linear, low-shot, clustering."""

from .clustering import cluster_accuracy, cluster_metrics
from .features import Features, extract_features
from .knn import knn_accuracy, knn_predict
from .knn_metric import KNNMetric
from .linear import linear_probe
from .low_shot import LowShot, low_shot_accuracy

__all__ = [
    'Features',
    'KNNMetric',
    'LowShot',
    'cluster_accuracy',
    'cluster_metrics',
    'extract_features',
    'knn_accuracy',
    'knn_predict',
    'linear_probe',
    'low_shot_accuracy',
]
