"""What libraries removed or changed since 2018, and what to use now."""

from __future__ import annotations

from dataclasses import dataclass

# Maps full names of modules, functions and classes to what replaces them.
REMOVED_NAMES = {
    "PIL.Image.ANTIALIAS": "PIL.Image.LANCZOS",
    "collections.Callable": "collections.abc.Callable",
    "collections.Iterable": "collections.abc.Iterable",
    "collections.Mapping": "collections.abc.Mapping",
    "collections.Sequence": "collections.abc.Sequence",
    "distutils": "setuptools or shutil",
    "imp": "importlib",
    "inspect.getargspec": "inspect.getfullargspec",
    "matplotlib.cm.get_cmap": "matplotlib.colormaps",
    "matplotlib.pyplot.cm.get_cmap": "matplotlib.colormaps",
    "numpy.lib.function_base": "numpy",
    "pandas.Panel": "a dict of DataFrames",
    "pkg_resources": "importlib.metadata",
    "pytorch_lightning.metrics": "torchmetrics",
    "scipy.misc.imread": "imageio.imread",
    "scipy.misc.imresize": "PIL.Image.resize",
    "scipy.misc.imsave": "imageio.imwrite",
    "skimage.measure.compare_psnr": "skimage.metrics.peak_signal_noise_ratio",
    "skimage.measure.compare_ssim": "skimage.metrics.structural_similarity",
    "sklearn.cross_validation": "sklearn.model_selection",
    "sklearn.externals": "the packages joblib and six",
    "sklearn.externals.joblib": "joblib",
    "sklearn.metrics.jaccard_similarity_score": "jaccard_score",
    "string.letters": "string.ascii_letters",
    "time.clock": "time.perf_counter",
    "torch._six": "str, int and math.inf of Python",
    "torch.fft": "torch.fft.fft",
    "torch.ifft": "torch.fft.ifft",
    "torch.irfft": "torch.fft.irfft",
    "torch.lstsq": "torch.linalg.lstsq",
    "torch.qr": "torch.linalg.qr",
    "torch.rfft": "torch.fft.rfft",
    "torch.solve": "torch.linalg.solve",
    "torch.symeig": "torch.linalg.eigh",
    "torchmetrics.F1": "torchmetrics.F1Score",
    "torchmetrics.IoU": "torchmetrics.JaccardIndex",
    "torchmetrics.functional.f1": "torchmetrics.functional.f1_score",
    "torchmetrics.functional.iou": "torchmetrics.functional.jaccard_index",
    "torchtext": "code of your own: torchtext was discontinued in 2024",
    "torchvision.datasets.utils.makedir_exist_ok": "os.makedirs(…, exist_ok=True)",
    "torchvision.models.utils": "torch.hub",
}
# Removed functions. Today torch.fft is a module, so only a call of it is wrong.
REMOVED_CALLS = ("torch.fft", "torch.ifft", "torch.rfft")


@dataclass(frozen=True)
class RemovedKeyword:
    """A keyword that a function no longer takes."""

    function: str
    keyword: str
    replacement: str


REMOVED_KEYWORDS = (
    RemovedKeyword("OneHotEncoder", "sparse", "sparse_output"),
    RemovedKeyword("TSNE", "n_iter", "max_iter"),
    RemovedKeyword("read_csv", "delim_whitespace", r"sep=r'\s+'"),
    RemovedKeyword("read_csv", "error_bad_lines", "on_bad_lines='skip'"),
    RemovedKeyword("read_csv", "squeeze", ".squeeze('columns')"),
    RemovedKeyword("to_csv", "line_terminator", "lineterminator"),
)
# Names in torchmetrics, as functions and as classes.
METRICS_WITH_TASK = {
    *("accuracy", "auroc", "average_precision", "calibration_error", "cohen_kappa"),
    *("confusion_matrix", "exact_match", "f1_score", "fbeta_score", "hamming_distance"),
    *("hinge_loss", "jaccard_index", "matthews_corrcoef", "precision", "precision_recall_curve"),
    *("recall", "roc", "specificity", "stat_scores"),
    *("Accuracy", "AUROC", "AveragePrecision", "CalibrationError", "CohenKappa"),
    *("ConfusionMatrix", "ExactMatch", "F1Score", "FBetaScore", "HammingDistance"),
    *("HingeLoss", "JaccardIndex", "MatthewsCorrCoef", "Precision", "PrecisionRecallCurve"),
    *("Recall", "ROC", "Specificity", "StatScores"),
}
SCHEDULERS_WITHOUT_VERBOSE = {
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "StepLR",
}
