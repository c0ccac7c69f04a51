"""What a loop leaves behind: ring reader, recorder process, statistics, recordings and reports.

Every observer is a reader of the ring; nothing in here is called by the cycle. Importing this
package imports none of its modules: take what you need from the module that has it.

=====================  ==========================================================================
``ring``               typed reading of a loop's ring, and whether its writer is alive
``statistics``         streaming counts and percentiles of a loop, in fixed memory
``recorder_process``   starts the recorder beside a loop and collects its result
``recorder``           the recorder process itself (``python -m rtloop.telemetry.recorder``)
``recover``            restores a recording from a cut file and the rings that outlived a crash
``recording``          reads a recording back as numpy arrays
``report``             one self-contained HTML page about a recording
=====================  ==========================================================================
"""
