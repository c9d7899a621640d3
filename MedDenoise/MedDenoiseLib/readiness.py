"""What a click on Denoise would do with the parameters as they are: why nothing, or where the result goes."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from MedDenoiseLib import volumes
from MedDenoiseLib.parameters import Device, MedDenoiseParameterNode, chosenModel
from MedDenoiseLib.strength_control import StrengthControl


def problem(
    parameters: MedDenoiseParameterNode | None, strengthControl: StrengthControl, isOffered: Callable[[str], bool]
) -> str:
    """Return one sentence on why denoising is not possible; empty when it is.

    :param isOffered: says whether there is a model of this name.
    """
    from meddenoise.errors import MedDenoiseError

    try:
        volumes.checkInput(parameters.inputVolume if parameters is not None else None)
        output = parameters.outputVolume
        volumes.checkOutput(output, parameters.inputVolume)
    except MedDenoiseError as error:
        return str(error)
    if strengthControl.isEdited(output) and not _isOfAnotherModel(parameters):
        return _("'{name}' has been edited; choose \"Create new volume\" as output.").format(name=output.GetName())
    if not volumes.mayBeOverwritten(output, parameters.inputVolume):
        return _(
            "'{name}' holds something else, which would be overwritten; choose \"Create new volume\" as output."
        ).format(name=output.GetName())
    if not parameters.weightsFile and not isOffered(parameters.model):
        return _("The model '{name}' is not installed; choose a model, or a weights file under Advanced.").format(
            name=parameters.model
        )
    return ""


def hint(parameters: MedDenoiseParameterNode | None) -> str:
    """Return one sentence when the result does not go where the output says; else empty."""
    output = parameters.outputVolume if parameters is not None else None
    if output is None or not _isOfAnotherModel(parameters):
        return ""
    return _("'{name}' was made with another model and is kept; a new volume is made.").format(name=output.GetName())


def _isOfAnotherModel(parameters: MedDenoiseParameterNode) -> bool:
    """Return whether the output is a result of another model: it is kept, so that the two can be compared."""
    from meddenoise.catalogue import DEFAULT_MODEL, default_model

    models = {chosenModel(parameters)}
    if models == {DEFAULT_MODEL}:  # which model it is, the child finds out with the device
        devices = ("cpu", "cuda") if parameters.device is Device.AUTO else (parameters.device.value,)
        models = {default_model(device) for device in devices}
    return volumes.isResultOfOtherModel(parameters.outputVolume, parameters.inputVolume, models)
