"""The Slicer side of MedDenoise in pieces, each with one reason to exist.

=====================  ===============================================================================
panel                  what the user sees and clicks: MedDenoiseWidget
model_choice           its list of models and its field for weights of the user's own
run_control            the run that it has started, looked at from a timer
readiness              what a click on Denoise would do: why nothing, or where the result goes
messages               what it says of a run and of an error, in words
logic                  denoising for the panel and for scripts: MedDenoiseLogic
parameters             what the user has chosen, kept in the scene
run                    one volume on its way through the child process: starts, reports, cancels
volumes                MRML volume <-> array: checks, geometry, transform, display, hierarchy, provenance
uncertainty            the uncertainty volume of a result
strength_control       the strength of a finished result, changed without a second run
compare                linked views of input, result and difference
export                 a result saved as a DICOM series
torch_installation     torch and safetensors, with the user's consent; another Python interpreter
sample_data            sample volumes, made on the spot
=====================  ===============================================================================

Import rules, guarded by ``Testing/engine/test_extension_files.py``:

- these files may use slicer, vtk, qt and the engine ``meddenoise``; ``MedDenoise.py`` uses them, never the reverse;
- only ``slicer``, ``vtk``, ``qt`` and the standard library at file scope. NumPy and the engine are imported by the
  functions that need them: Slicer starts faster, and a broken package cannot make the module vanish;
- torch is imported nowhere here: only the child process loads it;
- nothing needs a main window, and nothing touches the scene from another thread.
"""
