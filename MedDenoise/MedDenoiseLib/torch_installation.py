"""torch and safetensors for the child process, with the user's consent; or another interpreter that has them already.

Nothing is installed before the user clicks Denoise and agrees, and nothing at all while Slicer is being tested. torch
is looked for, never imported: Slicer itself does not need it.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil

import slicer
from slicer.i18n import tr as _

#: Key in the application's settings: path of another Python interpreter that denoises (a native arm64 Python on a Mac,
#: a conda environment); it needs torch, safetensors and NumPy. Empty: Slicer's own.
PYTHON_SETTING = "MedDenoise/Python"
TORCH_REQUIREMENT = ">=2.2"
SAFETENSORS_REQUIREMENT = "safetensors>=0.4"
PYTORCH_EXTENSION = "PyTorch"


def otherPython() -> str:
    """Return the interpreter from the settings, empty for Slicer's own."""
    return str(slicer.app.userSettings().value(PYTHON_SETTING) or "").strip()


def setOtherPython(path: str) -> None:
    """Store the interpreter in the settings; empty for Slicer's own."""
    settings = slicer.app.userSettings()
    if path.strip():
        settings.setValue(PYTHON_SETTING, path.strip())
    else:
        settings.remove(PYTHON_SETTING)


def slicerPython() -> str | None:
    """Return PythonSlicer, found as slicer.util.pip_install finds it; None outside Slicer: this interpreter."""
    return shutil.which("PythonSlicer")


def missingPackages() -> list[str]:
    """Return which of torch and safetensors Slicer's own interpreter lacks; looks at files, imports nothing."""
    importlib.invalidate_caches()
    return [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]


def ensureInstalled() -> bool:
    """See that the child process will find what it needs, asking the user before anything is installed.

    :returns: False when the user declined or Slicer has to be restarted first.
    :raises meddenoise.errors.MissingPackageError: when it cannot be installed.
    """
    from meddenoise.errors import MissingPackageError

    if otherPython():
        return True
    missing = missingPackages()
    if not missing:
        return True
    if slicer.app.testingEnabled():
        raise MissingPackageError(
            _("{packages} not installed in Slicer; nothing is installed during tests.").format(
                packages=", ".join(missing)
            )
        )
    try:
        if "torch" in missing and not _installTorch():
            return False
        if "safetensors" in missing and not _installSafetensors():
            return False
    except MissingPackageError:
        raise
    except Exception as error:  # pip, network, a full disk: whatever it was, the user gets one sentence
        raise MissingPackageError(
            _("The installation failed ({error}). Check the network connection and try again.").format(error=error)
        ) from error
    missing = missingPackages()
    if missing:
        raise MissingPackageError(
            _("{packages} could still not be found after the installation; restart Slicer and try again.").format(
                packages=", ".join(missing)
            )
        )
    return True


def _installTorch() -> bool:
    """Install torch by the PyTorch extension, which knows the wheel for this computer and its graphics card."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        _offerExtension()
        return False
    try:
        # It asks by itself, naming what it will download. At the end it imports torch, so that after this one
        # installation torch is in Slicer's own process until the next start.
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT)
    except Exception:
        # Installed, but this process could not load it; the child process, which alone needs it, may well.
        if "torch" in missingPackages():
            raise
    return "torch" not in missingPackages()


def _offerExtension() -> None:
    """Offer to install the PyTorch extension, which takes effect after a restart."""
    from meddenoise.errors import MissingPackageError

    manager = slicer.app.extensionsManagerModel()
    if manager.isExtensionInstalled(PYTORCH_EXTENSION):
        raise MissingPackageError(
            _("The PyTorch extension is installed but not loaded; restart Slicer, then denoise again.")
        )
    question = _(
        "MedDenoise needs PyTorch, and the extension 'PyTorch' that installs it is missing.\n\n"
        "Install this extension now? Slicer has to be restarted afterwards."
    )
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedDenoise")):
        return
    asking, manager.interactive = manager.interactive, False  # it would ask the same again
    try:
        # Without its own restart: the user may have a scene to save first.
        installed = manager.installExtensionFromServer(PYTORCH_EXTENSION, False)
    finally:
        manager.interactive = asking
    if not installed:
        raise MissingPackageError(
            _("The extension 'PyTorch' was not installed; install it in the Extensions Manager and restart Slicer.")
        )
    slicer.util.infoDisplay(_("The PyTorch extension is installed. Restart Slicer, then denoise again."))


def _installSafetensors() -> bool:
    """Install safetensors, the small package (1 MB) that reads the weights."""
    if importlib.util.find_spec("slicer.packaging") is not None:  # Slicer 5.12 and newer
        from slicer.packaging import pip_ensure

        try:
            pip_ensure([SAFETENSORS_REQUIREMENT], requester="MedDenoise")
        except RuntimeError:
            # It says only "User declined package installation"; whatever else went wrong, it is not there.
            return not missingPackages()
        return True
    question = _("MedDenoise needs the Python package 'safetensors' (1 MB) to read its weights. Install it now?")
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedDenoise")):
        return False
    slicer.util.pip_install(SAFETENSORS_REQUIREMENT)
    return True
