"""Every message, code, encoding, rate and limit of the wire, defined once; no I/O.

The models are dataclasses whose members carry what is right (:mod:`values`) and what they mean, in
English and Chinese. Code of ours validates them: what is accepted and how it is refused is ours as
well, and the client library loads no validation library (importing pydantic's ``BaseModel`` takes
four times as long as importing all of this).
"""
