"""`nvmath.bindings` as far as our two libraries use it: handles are counted, nothing is computed.

What the real libraries do with the same calls is tested on a GPU (`test_linear_gpu.py`).
"""

import ctypes
import enum
import itertools
import types


class Handles:
    """Gives out numbers and knows which were not given back."""

    def __init__(self):
        self._numbers = itertools.count(1)
        self.open = {}

    def take(self, kind):
        number = next(self._numbers)
        self.open[number] = kind
        return number

    def give_back(self, number):
        del self.open[number]


class FakeCusparseLt(types.SimpleNamespace):
    class cuSPARSELtError(Exception):  # noqa: N801 - the name in the binding
        pass

    MatmulAlgAttribute = enum.IntEnum(
        "MatmulAlgAttribute",
        "CONFIG_ID CONFIG_MAX_ID SEARCH_ITERATIONS SPLIT_K SPLIT_K_MODE SPLIT_K_BUFFERS",
        start=0,
    )
    ComputeType = enum.IntEnum("ComputeType", "COMPUTE_32I COMPUTE_16F COMPUTE_32F", start=0)
    Sparsity = enum.IntEnum("Sparsity", "SPARSITY_50_PERCENT", start=0)
    MatmulAlg = enum.IntEnum("MatmulAlg", "DEFAULT", start=0)

    def __init__(
        self,
        *,
        best=7,
        refused=(),
        broken=(),
        search_fails=False,
        workspace_bytes=0,
        refused_m=(),
        configs=9,
        split_k=0,
        ms=None,
    ):
        super().__init__()
        self.handles = Handles()
        self.refused_m, self.configs, self.broken = set(refused_m), configs, set(broken)
        self.ms, self.split_k = ms or {best: 1.0}, split_k
        self.best, self.refused, self.search_fails = best, set(refused), search_fails
        self.workspace_bytes = workspace_bytes
        self.selected = {}
        self.calls, self.searches = [], 0

    def init(self):
        return 1000

    def get_version(self, handle):
        return 801

    def structured_descriptor_init(self, *_):
        return self.handles.take("matrix")

    def dense_descriptor_init(self, handle, rows, columns, *_):
        if columns in self.refused_m:
            raise self.cuSPARSELtError(f"status 10: not for m = {columns}")
        return self.handles.take("matrix")

    def mat_descriptor_destroy(self, handle):
        self.handles.give_back(handle)

    def matmul_descriptor_init(self, *_):
        return self.handles.take("operation")

    def matmul_descriptor_destroy(self, handle):
        self.handles.give_back(handle)

    def matmul_alg_selection_init(self, *_):
        selection = self.handles.take("selection")
        self.selected[selection] = {0: 0, 1: self.configs, 3: 0, 4: 0, 5: 0}
        return selection

    def matmul_alg_selection_destroy(self, handle):
        self.handles.give_back(handle)

    def matmul_alg_set_attribute(self, handle, selection, attribute, address, size):
        self.selected[selection][int(attribute)] = ctypes.c_int32.from_address(address).value

    def matmul_alg_get_attribute(self, handle, selection, attribute, address, size):
        ctypes.c_int32.from_address(address).value = self.selected[selection][int(attribute)]

    def matmul_plan_init(self, handle, operation, selection):
        if self.selected[selection][0] in self.refused:
            raise self.cuSPARSELtError("not for this problem")
        plan = self.handles.take("plan")
        self.selected[plan] = self.selected[selection]
        return plan

    def matmul_plan_destroy(self, handle):
        self.handles.give_back(handle)

    def matmul_get_workspace(self, handle, plan):
        if isinstance(self.workspace_bytes, dict):
            return self.workspace_bytes.get(self.selected[plan][0], 0)
        return self.workspace_bytes if self.selected[plan][0] else 0

    def matmul_search(self, handle, plan, *_):
        self.searches += 1
        if self.search_fails:
            raise self.cuSPARSELtError("status 7")
        self.selected[plan].update({0: self.best, 3: self.split_k})

    def matmul(self, handle, plan, alpha, packed, q_x, beta, c, raw, workspace, streams, count):
        one, zero = (ctypes.c_float.from_address(number).value for number in (alpha, beta))
        stream = ctypes.c_void_p.from_address(streams).value
        if self.selected[plan][0] in self.broken:
            raise self.cuSPARSELtError("not on this data")
        self.calls.append((self.selected[plan][0], packed, q_x, raw, one, zero, stream, count))

    def last_ms(self):
        """What the last call took."""
        return self.ms.get(self.calls[-1][0], 2.0)


class FakeCublasLt(types.SimpleNamespace):
    class cuBLASLtError(Exception):  # noqa: N801 - the name in the binding
        pass

    MatmulDescAttribute = enum.IntEnum("MatmulDescAttribute", "TRANSA FAST_ACCUM")
    MatmulPreferenceAttribute = enum.IntEnum("MatmulPreferenceAttribute", "MAX_WORKSPACE_BYTES")

    def __init__(self, *, offered=3, broken=(), refused_m=()):
        super().__init__()
        self.handles = Handles()
        self.offered, self.broken, self.refused_m = offered, set(broken), set(refused_m)
        self.calls = []

    class MatmulHeuristicResult:
        workspace_size = 0

        def __init__(self, size=1):
            self._memory = ctypes.create_string_buffer(96 * size)
            self.ptr = ctypes.addressof(self._memory)

    def create(self):
        return 1000

    def get_version(self):
        return 130100

    def matmul_desc_create(self, *_):
        return self.handles.take("operation")

    def matmul_desc_destroy(self, handle):
        self.handles.give_back(handle)

    def matmul_desc_set_attribute(self, *_):
        pass

    def matrix_layout_create(self, type_, rows, columns, *_):
        if columns in self.refused_m:
            raise self.cuBLASLtError(f"not for m = {columns}")
        return self.handles.take("layout")

    def matrix_layout_destroy(self, handle):
        self.handles.give_back(handle)

    def matmul_preference_create(self):
        return self.handles.take("preference")

    def matmul_preference_destroy(self, handle):
        self.handles.give_back(handle)

    def matmul_preference_set_attribute(self, *_):
        pass

    def matmul_algo_get_heuristic(self, *arguments):
        results, count = arguments[-2:]
        for number in range(self.offered):
            ctypes.memset(results + 96 * number, number + 1, 64)
        ctypes.c_int32.from_address(count).value = self.offered

    def matmul_algo_check(self, *arguments):
        if ctypes.string_at(arguments[-2], 1)[0] in self.broken:
            raise self.cuBLASLtError("not supported")

    def matmul(self, *arguments):
        algorithm = ctypes.string_at(arguments[-4], 64)
        if algorithm[0] in self.broken:
            raise self.cuBLASLtError("not supported")
        self.calls.append(algorithm)

    def last_ms(self):
        """What the last call took: the second algorithm is the fastest."""
        return 1.0 if self.calls[-1][0] == 2 else 2.0
