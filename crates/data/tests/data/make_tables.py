"""Makes the Parquet files beside this script, with a writer that is not ours (pyarrow 26)."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
N_ROWS = 700
table = pa.table({
    "id": pa.array(range(N_ROWS), pa.int64()),
    "text": [None if i % 50 == 7 else f"row {i} – zażółć gęślą jaźń" for i in range(N_ROWS)],
    "label": [f"label {i % 3}" for i in range(N_ROWS)],
    "tags": [[f"a{i}", "b"] for i in range(N_ROWS)],
    "score": pa.array([i / 4 for i in range(N_ROWS)], pa.float64()),
})
for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
    for version in ["1.0", "2.0"]:
        if version == "2.0" and codec not in ["none", "zstd"]:
            continue
        name = f"{codec}-v{version[0]}.parquet"
        pq.write_table(table, HERE / name, compression=codec, data_page_version=version,
                       row_group_size=300, data_page_size=2000, use_dictionary=["label"])
