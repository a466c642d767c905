"""Write a host's samples as a table, a row for each slot that has a sample: CSV, or Parquet where pyarrow is there."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from harness.analysis import sample_values
from harness.errors import RequestError
from harness.model import Sample

COLUMNS: Mapping[str, str] = {
    "slot": "int64",
    "boot": "int64",
    "utc_ns": "int64",
    "mono_ns": "int64",
    "raw_ns": "int64",
    "offset_ns": "int64",
    "offset_uncertainty_ns": "int64",
    "read_delay_ns": "int64",
    "reads": "int64",
    "read_errors": "int64",
    "chrony_bound_ns": "int64",
    "device_bound_ns": "int64",
    "error_bound_ns": "int64",
    "last_offset_ns": "int64",
    "frequency_ppb": "double",
    "root_delay_ns": "int64",
    "root_dispersion_ns": "int64",
    "source": "string",
    "sampler_cpu_ns": "int64",
}
"""The columns, with their types in Arrow's words. An empty field, or null, was not observed.

`offset_ns`: system clock minus PHC by the fastest reading of the slot, which took `read_delay_ns`; half of that is the
uncertainty. `error_bound_ns`: chrony's bound and the device's. `last_offset_ns`: chrony's own offset at its last
update. `source`: what chrony follows. `sampler_cpu_ns`: processor time of the sampler since its start in this boot.
"""

Row = Mapping[str, int | float | str | None]


def make_rows(samples: Sequence[Sample]) -> list[Row]:
    """Make a row of each sample, in their order."""
    return [make_row(sample) for sample in samples]


def make_row(sample: Sample) -> Row:
    """Make the row of a sample."""
    fastest = sample_values.fastest(sample.reads) if sample.reads else None
    tracking = sample.tracking
    return {
        "slot": sample.slot,
        "boot": sample.boot,
        "utc_ns": sample.utc_ns,
        "mono_ns": sample.mono_ns,
        "raw_ns": sample.raw_ns,
        "offset_ns": sample_values.phc_offset(sample),
        "offset_uncertainty_ns": None if fastest is None else (fastest.window_ns + 1) // 2,
        "read_delay_ns": None if fastest is None else fastest.window_ns,
        "reads": None if sample.reads is None else len(sample.reads),
        "read_errors": sample.read_errors,
        "chrony_bound_ns": sample_values.chrony_bound(sample),
        "device_bound_ns": sample.error_bound_ns or None,
        "error_bound_ns": sample_values.error_bound(sample),
        "last_offset_ns": tracking.last_offset_ns if tracking else None,
        "frequency_ppb": tracking.frequency_ppm * 1000 if tracking else None,
        "root_delay_ns": tracking.root_delay_ns if tracking else None,
        "root_dispersion_ns": tracking.root_dispersion_ns if tracking else None,
        "source": next((source.name for source in sample.sources or () if source.state == "*"), None),
        "sampler_cpu_ns": sample.cpu_ns,
    }


def write_csv(rows: Iterable[Row]) -> str:
    """Write rows as CSV (RFC 4180) with a line of column names.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows({name: _escape(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def write_parquet(rows: Sequence[Row]) -> bytes:
    """Write rows as a Parquet file. Raises RequestError without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise RequestError(
            "Parquet needs the package pyarrow, which is not installed",
            next_step="pip install 'ptp-harness[parquet]', or write CSV",
        ) from error
    schema = pyarrow.schema([(name, getattr(pyarrow, _ARROW[kind])()) for name, kind in COLUMNS.items()])
    arrays = [pyarrow.array([row[field.name] for row in rows], field.type) for field in schema]
    buffer = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), buffer)
    return bytes(buffer.getvalue())


_ARROW = {"int64": "int64", "double": "float64", "string": "string"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _escape(value: float | str | None) -> float | str | None:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
