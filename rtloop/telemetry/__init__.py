"""What a loop leaves behind. Every observer is a reader of the ring; nothing in here is called by the cycle.

Importing this package imports none of its rooms: take what you need from the module that has it.

============  ==================================================================================
``observe``   typed reading of a loop's ring, counts and percentiles in fixed memory
``mcap``      the recording: written in batches, read back as numpy arrays
``recorder``  the recorder process, how it is started beside a loop, recovery after a crash
============  ==================================================================================
"""
