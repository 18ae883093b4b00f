"""Exceptions known by where they were raised, or by how their message is phrased.

Messages change with every version, and new ones come; which file raised an exception, and whether
it says that something "is not supported", stays. These signatures stand after all that know a
message, and weigh less (`Tier.PLACED`).
"""

from __future__ import annotations

from slidesparse_bench.failures.signature import Signature, Tier
from slidesparse_bench.failures.trace import IMPORTS_ANOTHER

_NAME = r"(?:[A-Za-z_]\w*\.)*"
_ANY = rf"^(?P<exception>{_NAME}_?[A-Z]\w*(?:Error|Exception))"
_REFUSES = (
    rf"^(?P<exception>{_NAME}(?:ValueError|NotImplementedError|AssertionError|RuntimeError|InternalError"
    r"|VLLM\w*Error|\w*(?:Uns|S)upported\w*Error|\w*MismatchError)|\s*what\(\))"
)
_REFUSES_WITHOUT_ASSERTING = _REFUSES.replace("|AssertionError", "")

_ARCHITECTURES = (
    r"(?:Hopper|Ampere|Blackwell|Turing|Volta|Ada(?: Lovelace)?\b|\b(?:SM|[Ss]m)(?: ?[<>]?= ?|[ _])?\d{2,3}[a-fx]?\b"
    r"|(?:compute|device|CUDA|cuda|GPU) capability|[Cc]ompute [Cc]ap(?:ability)?\b|(?:GPU|CUDA|SM|device) arch\w*"
    r"|\b(?:GPU|SM|device) (?:version|generation|family|target)|__?CUDA_ARCH__\b|\bCUDA_ARCH\b|gfx\d+"
    r"|\b[CR]DNA ?\d?\b|\b\d+\.\d\+? arch\w*|\bwith capability \d+)"
)
_GPUS = rf"(?:{_ARCHITECTURES}|\b(?:V|A|H|B)[12]00\b|MI\d{{3}}[AX]?\b)"
"""The same and names of models, which messages on memory and counts hold as well."""


def _only_some(gpus: str) -> str:
    """A pattern for what says that only some of `gpus` are accepted."""
    return (
        rf"(?:[Oo]nly|[Rr]equires?|[Nn]eeds?|[Uu]nsupported|[Nn]ot? (?:yet |currently )?(?:supported|available"
        rf"|implemented|compatible|compiled)|(?:does|do)(?: not|n't) support|at least)\b.{{0,120}}?{gpus}"
        rf"|{gpus}.{{0,80}}?(?:not (?:yet )?supported|unsupported|required\b|or (?:newer|higher|later|above)"
        r"|only|too (?:low|old))"
        rf"|{gpus}(?:(?![Mm]emory|[GM]i?B\b).){{0,80}}?(?:below|lower than|less than|older than) the (?:minimum|required)"
        r"|\b[Nn]o (?:supported |valid )?(?:compute capabilities|CUDA arch\w*|GPU arch\w*)\b"
        r"|not supported (?:on|by|for) (?:this|the current|your|current) (?:GPU|device|hardware|arch\w*)"
        r"|(?:this|your|current) GPU (?:does not|doesn't|is not (?:yet |currently )?(?:supported|compatible|capable|able|new))|\bGPU is too old\b"
        r"|(?:does|do)(?: not|n't) support (?:this|the current|your|current) (?:GPU|device|hardware|arch\w*)"
        # No version of FlashAttention runs on GPUs before Ampere.
        r"|[Uu]nsupported (?:FA|[Ff]lash[- ]?[Aa]ttention) version: None"
        # Of FlashAttention 3, for Hopper, and of kernels of which none is left for this GPU.
        r"|[Oo]nly supported (?:in|by|with) (?:FlashAttention[- ]?3|FA3)\b|[Oo]nly types = \[\]"
        # Checks of native code, without a message: TORCH_CHECK(is_sm80), DG_HOST_UNREACHABLE.
        r"|Expected .*?(?:\bis_sm\w+|prop\w*(?:->|\.)(?:major|minor)|compute_cap\w*).* to be true, but got false"
        # DeepGEMM has cases by GPU, and says what it looked for when none fits.
        r"|ssertion error \(\S+\.(?:hpp|cuh?|cpp):\d+\): (?:[Uu]nsupported arch|Unknown (?:recipe|SF transf))"
        # Of a model it would be named.
        r"|[Uu]nsupported (?:GPU |device )?arch(?:itecture)?s?\W*(?:\(\S+:\d+\)\s*)?$"
        r"|\b[Aa]rch(?:itecture)? (?:is )?(?:unsupported|not supported)\b"
        rf"|\bexcept (?:on|for|with) .{{0,40}}?{gpus}|\bmust be (?:an? )?(?:NVIDIA )?{gpus}"
    )


_ONLY_SOME_GPUS = _only_some(_GPUS)
_REFUSAL = (
    r"(?:\bnot|n't) (?:yet |currently |officially )?(?:supported|compatible|divisible|allowed|implemented"
    r"|permitted|a valid|valid for)\b"
    r"|(?:[Dd]oes|[Dd]o|did)(?: not|n't) (?:yet |currently )?(?:support|implement)"
    r"|\b[Uu]nsupported\b|\bincompatible with\b|mutually exclusive|[Nn]o valid attention backend"
    r"|\bnot support\b|(?:must|should|has to|have to|needs? to) be (?:evenly )?(?:divis\w*|(?:an? )?(?:integer )?(?:multiple|power) of"
    r"|even\b|fp16|bf16|one of|at least"
    r"|at most|greater|less|larger|smaller|positive|non-negative|between|equal|in [\[({]|[<>=]"
    r"|set|specified|provided|enabled|disabled|true|false|True|False|None)"
    r"|\b[Oo]nly (?:supports?|supported|works?|implemented|available|compatible|allows?|valid"
    r"|(?:be )?(?:used|enabled|supported|applied))\b"
    r"|(?:cannot|can not|can't) be (?:used|enabled|set|combined|larger|greater|smaller|specified)"
    r"|\b[Uu]n(?:known|recognized|expected) (?:quant\w+|dtype|data type|device|backend|attention"
    r"|model|config\w*|argument|option|format|scheme|method|load|load_format|runner|task)\b"
    r"|\bsupport(?:s|ed)? only\b|\b(?:indivisible|requires? .{1,80}divisible) by\b|\bcurrently supports?\b"
    r"|\bsupports? .{1,80}, (?:but )?got\b|\b[Oo]nly one .{1,60} can be\b|\b[Ss]et (?!allow_unused|retain_graph|create_graph)\w+ ?= ?(?:True|False|\d)"
    r"|\bout of (?:bounds|range) for (?:\d+ devices|assigned_)|exceeds (?:available GPUs|assigned_)"
    r"|\b[Nn]o (?:suitable|matching|applicable|viable) (?:\w+ ){0,2}(?:kernel|implementation|algorithm|tactic|config\w*|strategy)s?\b"
    r"|\b(?:must|should) (?:evenly |be evenly )?divisible\b"
    r"|\b(?:VLLM|SGLANG)_[A-Z_]+ (?:must|cannot|should)\b|\bbe multiples? or\b|\b(?:requires?|needs?) \w+ ?% ?\d+ ?== ?0"
    r"|\bnot in (?:the )?supported\b|match (?:the )?(?:local )?world size|\blocal rank \d+ is out of bounds|\b[Uu]nknown \w+ backend\b"
    r"|No supported LoRA modules|\bplease disable it\b|requires? .{1,60}\bto (?:support|return) "
    r"|\b[Oo]nly\b.{0,80}\bsupported\b|\bnot (?:an? )?(?:multiple|power) of\b|\b[Nn]o compatible \w+"
    r"|\b(?:[Rr]emaining|[Uu]nknown|[Uu]nrecognized|[Uu]nused|[Uu]nparsed|[Ll]eftover)[ _](?:argv?s?|arguments?"
    r"|flags?|options?|parameters?)\b"
    r"|\b(?:dtype|float\d+|bfloat16) is required for\b|\bsupports? \w+ only\b|\b(?:[Vv]alid|[Ss]upported|[Aa]llowed) (?:values|options|choices|modes|types) are\b"
    r"|\b[Uu]n(?:known|recognized) (?!message|request|event|frame|output|object|node)(?:\w+ ){1,3}(?:type|method"
    r"|mode|scheme|strategy|activation)\b|\b(?:must|should|does not|do not|doesn't) (?:evenly )?divide\b"
    r"|(?<!ndim )(?<!dim )(?<!rank )\bmust be \d+(?![\w.-])|\bneeds? to be run with\b|[Aa]t most \d+ \w+(?:\(s\))? may be provided"
    r"|[Nn]ot enough (?:total )?available (?:nodes|GPUs|devices)|(?:greater|larger|more) than the (?:maximum )?number of"
    r"|[Cc]onfiguration mismatch|incompatible configuration|[Cc]annot set both|[Dd]oes not work with\b"
    r"|cannot be simultaneously|\bonly .{0,40} (?:is|are) (?:allowed|accepted)\b"
    r"|\b(?:[Ss]et|[Uu]se|[Pp]ass|[Ww]ithout|[Ss]pecify|[Aa]dd|[Rr]emove|[Ee]nable|[Dd]isable) [`'\"]?"
    r"(?:--[a-z]|(?:VLLM|SGLANG)_[A-Z])"
    r"|Expected .*% \w+ == 0\b.* to be true, but got false|tp_size % \w+ == 0"
    r"|[Cc]annot provide a placement group|[Pp]lease adjust\b|[Cc]annot use \w+|is not aligned with|exceeds the (?:total |maximum )?number of"
    r"|\b[Ii]nvalid (?:value|choice|argument|option|config\w*|combination|backend|quant\w*|dtype"
    r"|method|load|attention|tensor parallel|max_\w+|thread config|cudagraph)\b"
)
_ADVISED = (
    r"[Cc]annot find the config file|should have an? |must have an? |must contain |"
    r"[Pp]lease (?:use|set|increase|decrease|reduce|lower|raise|disable|enable|specify|pass|choose"
    r"|provide|consider)\b|[Cc]onsider (?:reducing|increasing|using|setting)"
    r"|[Tt]ry (?:increasing|decreasing|reducing|setting|lowering|using)|\brequires? (?:`|--|setting |VLLM_)"
    r"|is (?:larger|greater|smaller|less|longer|higher|lower) than|is too (?:large|small|long)"
    r"|exceeds? (?:the )?(?:max\w*|limit|model)"
)
"""How vLLM phrases what another setting would change."""

_BUILDING_TOKENIZER = frozenset(
    {
        "get_tokenizer",
        "get_cached_tokenizer",
        "cached_get_tokenizer",
        "cached_tokenizer_from_config",
        "init_tokenizer_from_configs",
        "init_tokenizer_from_config",
        "convert_slow_tokenizer",
        "tokenization_auto.py",
        "tokenization_utils_base.py",
        "tokenization_utils_fast.py",
        "tokenization_utils_tokenizers.py",
        "convert_slow_tokenizer.py",
    }
)
_READING_CHECKPOINT = frozenset(
    {
        "load_weights",
        "weight_loader",
        "weight_loader_v2",
        "default_weight_loader",
        "_load_weights_and_online_quantize",
        "load_state_dict",
        "weight_utils.py",
    }
)
_CHECKING_CONFIG = frozenset(
    {
        "create_engine_config",
        "create_model_config",
        "create_load_config",
        "create_speculative_config",
        "verify_with_parallel_config",
        "verify_max_model_len",
        "verify_and_update_config",
        "_verify_args",
        "_verify_quantization",
        "_get_and_verify_max_len",
        "_get_and_verify_dtype",
        "_verify_cuda_graph",
        "try_verify_and_update_config",
        "check_and_update_config",
        "get_quant_config",
        "get_quantization_config",
        "parse_args",
        # DeepSpeed.
        *("_batch_assertion", "_configure_train_batch_size", "_do_sanity_check", "_do_error_check"),
    }
)
_BUILDING_ENGINE = frozenset(
    {"__init__", "load_model", "initialize_model", "_init_executor", "init_device"}
)
_RUNNING_ENGINE = frozenset(
    {
        *("forward_native", "forward_cuda", "forward_impl", "determine_num_available_blocks"),
        *("_call_impl", "_wrapped_call_impl", "capture_model"),
        "run_busy_loop",
        "execute_model",
        "forward",
        "step",
        "generate",
        "profile_run",
        "_dummy_run",
        "determine_available_memory",
        "compile_or_warm_up_model",
        "load_weights",
    }
)
_SERVING = frozenset({"run_busy_loop", "run_engine_loop", "engine_step", "execute_model"})
"""The loops of an engine that has started: its configuration was accepted, what it asserts then are
invariants of its own."""
_CONFIG_FILES = (
    r"transformers/utils/quantization_config|vllm/(?:config(?:\.py$|/)|engine/arg_utils|platforms/|transformers_utils/config"
    r"|entrypoints/openai/cli_args|utils/argparse|model_executor/models/registry)"
    r"|transformers/(?:.*/)?configuration_|/argparse\.py$|/pydantic/"
)

_ENGINES = (
    r"/(?:vllm|sglang|lmdeploy|tensorrt_llm|text_generation_server|compressed_tensors|llmcompressor"
    r"|transformers|peft|trl|flash_attn|flashinfer)/(?!model_executor/model_loader/)"
)
"""Files of engines, of what they are made of, and of trainers."""
_COMPILING = frozenset(
    {
        *("_compile_and_create_adapter", "LowerAndLegalize", "OptimizeForTarget", "device_codegen"),
        *("generate_mlir", "generate_original_ir", "build_ir_module", "compile_and_cache"),
        "make_ir",
        "make_ttir",
        "make_ttgir",
        "make_llir",
        "make_ptx",
        "make_cubin",
        "ast_to_ttir",
        *("aot_compile", "aot_compile_fullgraph", "standalone_compile", "compiler_interface.py"),
        *("compile_fx", "compile_fx_inner", "_call_user_compiler", "call_user_compiler"),
        *("codegen_and_compile", "compile_to_module", "fx_codegen_and_compile", "compile_to_fn"),
        *("_write_ninja_file_and_build_library", "_run_ninja_build", "build_and_load"),
        *("backend_compile", "backend_compile_and_load", "compile_or_get_cached"),
    }
)
"""Functions that run only while a kernel is compiled: TileLang, CuTe, Triton, Inductor, extensions
of torch, FlashInfer, XLA."""
_COMPILES = (
    r"\b(?:[Ff]ailed to|[Uu]nable to|[Cc]ould not|[Cc]annot) (?:be )?(?:JIT[- ])?(?:compile|lower|legalize"
    r"|assemble)d?\b|\b[Cc]ompil(?:ation|er|ing)\b[^.:]{0,60}\b(?:fail\w*|error|abort\w*|exited)"
    r"|\b[Cc]ode ?gen\w*\b[^.:]{0,40}\b(?:fail\w*|error)|\b[Ee]rrors? (?:while|when|during|in) compil|\b[Cc]ompile (?:failed|error)\b"
)

_WANTED = (
    r"\b(?:pip3?|conda|apt|apt-get|uv pip) install\b|[Pp]lease (?:re)?install\b|\binstall it\b|is not installed"
    r"|not be installed|not (?:seem to be |properly |correctly )installed|[Pp]lease (?:upgrade|update) (?:your )?\w+"
    r"|(?:[Pp]lease|or|;|to) (?:upgrade|rebuild|reinstall) \w+|usable \w+ installation"
    r"|requires? (?:the )?[\w.+-]+ ?(?:version )?(?:>=|==|<=|>|<) ?v?\d+\.\d|version mismatch|incompatible version"
    r"|mismatches the version|(?:\d+\.)+\d+ or (?:newer|later|higher|above)\b"
    r"|installed version\b.{0,80}\b(?:less|greater|older|newer|lower|higher) than"
    r"|can(?:not|'t) be imported|(?:not|n't) (?:be )?importable|(?:compiled|built) without \w+"
    r"|\bnot (?:been )?(?:compiled|built) (?:with|against)\b|broken build|(?:compiled|built) with (?:a )?different\b"
    r"|\b[Ff]ailed to load (?:the )?(?:shared |dynamic )?library\b|\b[Ss]etup failed despite GPU\b"
    r"|\b(?:driver|extension|library|module) (?:can't|cannot|could not) be (?:loaded|found)"
    r"|\b(?:extension|library|package|module|binary) is (?:not (?:loaded|available|found|built)|unavailable)"
    r"|\b[Ii]nstall (?:the )?[`'\"][\w.\[\]-]+[`'\"]|\bEnsure .{1,40} (?:is|are) installed|[`'\"][\w.-]+[`'\"] package is installed"
    r"|requires? (?:the )?[`'\"]?[\w.-]+[`'\"]? package\b|\b(?:kernels|module|package|extension) (?:are |is )?(?:not|cannot be) found\b"
    r"|\b(?:NIXL|Mooncake|MoRIIO|FlashInfer|DeepGEMM|DeepEP|MoonEP|\w+\.bindings|Ray|Triton)\b"
    r"(?!.*workspace)[^:]{0,40}?(?:not available|unavailable)\b|\b[Cc]ould not load the \w+ runtime|cuGetProcAddress\S* failed"
    r"|requested but (?:\w+ is )?unavailable|(?:current|installed) version of [`'\"]?[\w.-]+[`'\"]? (?:does not|doesn't|is not)"
    r"|\brequires? (?:CUDA|ROCm) support\b"
    r"|\b(?:CUDA|ROCm|[Nn][Vv][Cc][Cc]|ptxas|[Nn]inja|[Cc][Mm]ake|gcc|g\+\+|C(?:\+\+)? compiler|NVML|libcuda\S*|cuDNN)"
    r" (?:(?:(?:was|is|could) )?not (?:be )?|cannot (?:be )?)found|\b(?:[Nn]inja|nvcc|cmake|gcc|ptxas) is required\b"
    r"|\b(?:[Ll]ibrary|[Hh]eaders?|[Tt]oolkit|[Cc]ompiler|[Ee]xecutable) (?:\S*[./_]\S* )?(?:was |is |are )?not found\b|\bnot installed\b"
    r"|(?:[Cc]annot|[Cc]ould not|[Cc]ouldn't|[Uu]nable to|[Ff]ailed to) (?:find|locate)"
    r" (?:any |the |a )?(?:CUDA\b(?! (?:graph|device|error|kernel|arch\w*|stream|event))|ROCm|[Nn][Vv][Cc][Cc]|ptxas|ninja|cmake|gcc|g\+\+|C(?:\+\+)? compiler|NVML|libcuda)"
    r"|[Uu]nable to determine (?:the )?CUDA version|[Ff]ailed to load the backend extension"
    r"|functions (?:unavailable|not installed)|\b[A-Z]+_(?:HOME|PATH|ROOT)\b.{0,40}(?:not set|unset|not found)"
)
"""How a missing or too old package, compiler or driver is asked for."""
_GPU_WANTED = (
    r"\b[Nn]o (?:\w+ ){0,3}(?:GPU|device)s? (?:or \w+ )?(?:(?:was|were|is|are) )?(?:found|detected|available|visible)\b"
    r"|\b(?:CUDA|GPU|ROCm) (?:is|was) (?:not available|required|unavailable)\b"
    r"|\b(?:requires?|needs?) (?:a |an )?(?:CUDA |NVIDIA |AMD )?GPUs?(?=\W*$|[.,;)]| (?:and|to|for|with)\b)"
    r"|\bdevice \S+ is not visible\b"
)

_FRAME = 'Traceback (most recent call last):\n  File "{}", line 100, in {}\n    {}\n'

PLACED = (
    Signature(
        id="request_refused",
        failure_class="unsupported_config",
        needles=("VLLMValidationError: ",),
        # A server that refuses one request goes on: what it dies of later is the cause.
        tier=Tier.STATED,
        pattern=r"^(?:[A-Za-z_][\w.]*\.)?VLLMValidationError: (?P<message>.+)",
        example="vllm.exceptions.VLLMValidationError: The decoder prompt (length 5000) is longer than the "
        "maximum model length of 4096.",
        hint="The engine refused it: {message}",
    ),
    Signature(
        id="refuses_this_gpu",
        failure_class="unsupported_arch",
        needles=("Error", "Exception", "what()"),
        tier=Tier.PLACED,
        pattern=rf"{_REFUSES}: (?P<message>.*(?:{_ONLY_SOME_GPUS}).*)",
        example="RuntimeError: FlashAttentionHopper only supports Hopper GPUs or newer.",
        hint="Only some GPUs are accepted: {message}",
    ),
    Signature(
        id="error_names_gpu",
        failure_class="unsupported_arch",
        needles=(
            "GPU",
            "apability",
            "compute cap",
            "arch",
            "Arch",
            "ARCH",
            "sm_",
            "SM",
            "gfx",
            "hardware",
            *("Hopper", "Ampere", "Blackwell", "Turing", "Volta", "Ada"),
        ),
        tier=Tier.STATED,
        # Of programs that have no exceptions.
        pattern=rf"^(?:(?:(?:(?:[Ff]atal )?[Ee]rror|ERROR|FATAL|[Ff]ailed)"
        rf"\b[^:]{{0,60}}: |(?:time=\S+ )?level=(?:ERROR|error) .*msg=\"|(?=(?:Your |This |The )?(?:GPU|CUDA) (?!arch\w* (?:list|flags?))))"
        # A share of the memory or of the devices is no architecture.
        rf"(?!.{{0,400}}(?:\d ?[KMGT]i?B\b|\b\d+ of (?:the |all )?\d+\b))"
        rf"(?!.{{0,400}}(?:[Ff]all|[Uu]sing |instead|[Dd]isabl|[Ww]arn|[Dd]efault))"
        rf"(?P<message>.{{0,200}}?(?:{_only_some(_ARCHITECTURES)}).*)"
        # The first words of containers of NVIDIA's.
        r"|Detected .{1,60} GPU, which is not (?:yet )?supported|No supported GPU\(s\) detected)",
        example="Error: Could not start backend: cuda compute cap 61 is not supported",
        hint="Only some GPUs are accepted: {message}",
    ),
    Signature(
        id="architecture_expected",
        failure_class="unsupported_arch",
        needles=("arch", "sm_", "compute_"),
        tier=Tier.PLACED,
        # Kernel languages name their exceptions as they like, and the GPUs by their targets.
        pattern=rf"{_ANY}: (?P<message>.*(?:\bexpects? (?:the )?(?:GPU |target )?arch\w*|\barch\w* (?:to be|must be|should be"
        r"|is not|not in)\b.{0,80}\bsm_?\d|\b(?:but )?(?:got|found|is|for|on) (?:sm_|compute_)\d{2,3}[af]?\b).*)",
        example="cutlass.cute.nvgpu.common.OpError: OpError: expects arch to be one of ['sm_100a', 'sm_100f'], "
        "but got sm_121a",
        hint="Only some GPUs are accepted: {message}",
    ),
    Signature(
        id="native_assertion_names_gpu",
        failure_class="unsupported_arch",
        needles=("ssertion failed: ", "CHECK failed", "heck failed"),
        tier=Tier.PLACED,
        pattern=rf"(?:[Aa]ssertion failed: |C(?:HECK|heck) failed:? )(?P<message>.*?(?:{_ONLY_SOME_GPUS})[^()]*)",
        example="[TensorRT-LLM][ERROR] Assertion failed: FP8 FMHA cannot be enabled except on Ada or Hopper "
        "or Blackwell Arch. (/code/tensorrt_llm/common/attentionOp.cpp:2357)",
        hint="Only some GPUs are accepted: {message}",
    ),
    Signature(
        id="exception_while_importing",
        failure_class="driver_or_env",
        needles=("",),
        within=frozenset({IMPORTS_ANOTHER}),
        # PyTorch and NumPy check what they are given; of PyTorch only what registers operators tells versions.
        raised_in=r"/(?:site|dist)-packages/(?!(?:torch|numpy)/)|/torch/(?:_?library\b|_ops\.py|utils/_pytree)",
        tier=Tier.PLACED,
        ends_traceback=True,
        # One package calls what another one's version does not have, or does not have any more.
        pattern=r"^(?:[A-Za-z_]\w*\.)*(?P<exception>(?:Attribute|Type|Value|Name|Import)Error)(?:: (?P<message>(?!.*(?:CUDA|HIP) error).*))?$",
        example='Traceback (most recent call last):\n  File "/opt/bin/serve", line 3, in <module>\n    import transformers\n  File "/opt/site-packages/transformers/integrations/hub_kernels.py", '
        'line 89, in <module>\n    "cuda": LayerRepository(\n  File "/opt/site-packages/kernels/layer.py", line 76, '
        'in __init__\n    raise ValueError("Either a revision")\nValueError: Either a revision',
        hint="Two installed packages do not fit each other: importing one raised {exception}.",
    ),
    Signature(
        id="native_assertion_refuses",
        failure_class="unsupported_config",
        needles=("ssertion failed: ", "CHECK failed", "heck failed"),
        tier=Tier.PLACED,
        pattern=rf"(?:[Aa]ssertion failed: |C(?:HECK|heck) failed:? )(?P<message>.*?(?:{_REFUSAL}|{_ADVISED}"
        r"|\b[Dd]o not set \w+|\b[Mm]ust set \w+"
        # Conditions without words: sizes that divide, ranks that multiply.
        r"|\S+ % \S+ == 0\b|\b(?:mpi_?[sS]ize|world_?[sS]ize|[tpde]p(?:_?[sS]ize)?)\b.{0,40}? [=<>]=? "
        r"|\b(?:has|have|needs?|must|should|ought) (?:to )?be (?:built|compiled|configured|exported|converted)).*)",
        example="[TensorRT-LLM][ERROR] Assertion failed: Must set crossKvCacheFraction for "
        "encoder-decoder model (/src/tensorrt_llm/batch_manager/trtGptModel.cpp:288)",
        hint="The engine's native code refused it: {message}",
    ),
    Signature(
        id="package_wanted",
        failure_class="driver_or_env",
        needles=(
            "install",
            "ersion",
            "import",
            "ompiled",
            "built",
            "build",
            "pgrade",
            " loaded",
            "_HOME",
            *(
                "_PATH",
                "_ROOT",
                "unavailable",
                "extension",
                "equire",
                " found",
                "not available",
                "not load",
                "ailed to load",
                "etup failed",
                "cuGetProc",
                *(" find ", " locate ", "determine", "not found", "cannot found"),
            ),
        ),
        tier=Tier.PLACED,
        pattern=rf"{_ANY}: (?P<message>.*(?:{_WANTED}).*)",
        example="AssertionError: vLLM requires bitsandbytes>=0.46.1. Please install it.",
        hint="A package is missing or has another version than is needed: {message}",
    ),
    Signature(
        id="gpu_wanted",
        failure_class="driver_or_env",
        needles=("GPU", "device", "CUDA", "ROCm"),
        tier=Tier.PLACED,
        pattern=rf"{_ANY}: (?P<message>.*(?:{_GPU_WANTED}).*)",
        example="RuntimeError: No GPU found. A GPU is needed for quantization.",
        hint="No usable GPU is visible to this process.",
    ),
    Signature(
        id="exception_in_hub",
        failure_class="model_not_found",
        needles=("Error", "Exception"),
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=r"/huggingface_hub/|/transformers/utils/hub\.py|/modelscope/",
        pattern=rf"{_ANY}: (?P<message>(?!.*(?:localhost|127\.0\.0\.1)).*)",
        example=_FRAME.format("/opt/modelscope/hub/file_download.py", "get_file", "raise error")
        + "modelscope.hub.errors.FileIntegrityError: config.json: integrity check failed",
        hint="The hub or its local cache did not give the model: {message}",
    ),
    Signature(
        id="exception_named_after_hub",
        failure_class="model_not_found",
        needles=("huggingface_hub.", "modelscope."),
        tier=Tier.PLACED,
        pattern=r"^(?P<exception>(?:huggingface_hub|modelscope)\.[\w.]+(?:Error|Exception|NotFound))(?::|$)",
        example="huggingface_hub.utils._errors.HfHubHTTPError: 403 Client Error: Forbidden for url:",
        hint="The hub did not give the model: {exception}",
    ),
    Signature(
        id="exception_of_hub_client",
        failure_class="model_not_found",
        needles=("huggingface", "hf.co", "hf-mirror", "modelscope", "name resolution"),
        tier=Tier.PLACED,
        pattern=rf"^{_NAME}(?:HTTP\w*Error|(?:Connect|Read|Max)\w*(?:Error|Timeout)|ProxyError|SSLError): "
        r"(?P<message>.*(?:huggingface|\bhf\.co|hf-mirror|modelscope|name resolution).*)",
        example="requests.exceptions.SSLError: HTTPSConnectionPool(host='huggingface.co', port=443): "
        "Max retries exceeded with url: /api/models/me/model",
        hint="The hub did not give the model: {message}",
    ),
    Signature(
        id="exception_in_tokenizer",
        failure_class="tokenizer_error",
        needles=(":",),
        within=_BUILDING_TOKENIZER,
        tier=Tier.PLACED,
        ends_traceback=True,
        pattern=r"^(?P<exception>(?!(?:\w+\.)*(?:ImportError|ModuleNotFoundError))[\w.]+): ",
        example=_FRAME.format(
            "/opt/vllm/tokenizers/registry.py", "get_tokenizer", "tokenizer = cls("
        )
        + "KeyError: 'model_max_length'",
        hint="Building the tokenizer raised {exception}.",
    ),
    Signature(
        id="exception_of_tokenizer",
        failure_class="tokenizer_error",
        needles=("Error", "Exception"),
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=r"tokeniz|sentencepiece|tiktoken|/mistral_common/",
        pattern=r"^(?P<exception>(?!(?:\w+\.)*(?:ImportError|ModuleNotFoundError))"
        r"[\w.]+(?:Error|Exception))\b",
        example=_FRAME.format(
            "/opt/vllm/transformers_utils/tokenizers/mistral.py", "decode", "piece(id)"
        )
        + "AttributeError: 'Tekkenizer' object has no attribute 'id_to_byte_piece'",
        hint="Using the tokenizer raised {exception}.",
    ),
    Signature(
        id="key_of_a_choice",
        failure_class="unsupported_config",
        needles=("KeyError: ",),
        tier=Tier.PLACED,
        # Most keys are names; these are sentences.
        pattern=r"^KeyError: ['\"](?P<message>.*(?:\b(?:chose|choose) from\b|\b(?:[Aa]vailable|[Ss]upported|[Vv]alid)"
        r" \w+:|is not a valid \w+ |Missing required keys in|is not supported\b).*?)['\"]?$",
        example="KeyError: 'invalid tool call parser: hermess (chose from hermes, mistral)'",
        hint="It was refused, on any GPU: {message}",
    ),
    Signature(
        id="weights_key",
        failure_class="weights_mismatch",
        needles=("KeyError",),
        within=_READING_CHECKPOINT,
        tier=Tier.PLACED,
        ends_traceback=True,
        pattern=r"^KeyError: '(?P<parameter>[^']+)'",
        example=_FRAME.format("/opt/vllm/models/qwen3_moe.py", "load_weights", "params_dict[name]")
        + "KeyError: 'layers.35.mlp.gate.g_idx'",
        hint="The checkpoint has {parameter}, which the model does not know.",
    ),
    Signature(
        id="parameter_key",
        failure_class="weights_mismatch",
        needles=("KeyError: '",),
        never_within=_RUNNING_ENGINE | {"initialize_from_config", "initialize_kv_cache"},
        tier=Tier.PLACED,
        # What ends in attn or mixer is a layer, the key of its KV cache.
        pattern=r"^KeyError: '(?!.*(?:attn|mixer)')(?P<parameter>[\w.]*\b(?:layers|blocks|experts|h)\.\d+\.[\w.]+"
        r"|[\w.]+\.(?:q?weight|bias|\w*scales?|g_idx|qzeros|absmax))'",
        example="KeyError: 'layers.0.self_attn.qkv_proj.weight_scale'",
        hint="The checkpoint has {parameter}, which the model does not know.",
    ),
    Signature(
        id="exception_in_weight_loader",
        failure_class="weights_mismatch",
        needles=(
            "Assertion",
            "size",
            "shape",
            "match",
            "dimension",
            "elements",
            "missing",
            "weight",
        ),
        within=_READING_CHECKPOINT,
        tier=Tier.PLACED,
        ends_traceback=True,
        pattern=r"^AssertionError\b|^(?:IndexError|RuntimeError|ValueError|AttributeError): (?!.*\bnot supported\b).*(?:size"
        r"|shape|match|dimension|elements|missing|weight)",
        example=_FRAME.format("/opt/vllm/layers/linear.py", "weight_loader_v2", "assert a == b")
        + "AssertionError",
        hint="A weight of the checkpoint has another name or shape than the model expects.",
    ),
    Signature(
        id="compiling_failed",
        failure_class="compile_failure",
        needles=("ompil", "odegen", "ode gen", " lower", " legalize", " assemble"),
        tier=Tier.PLACED,
        # Grammars and patterns are compiled as well.
        pattern=rf"{_ANY}: (?P<message>(?!.*(?:CUDA|HIP) error|.*(?:grammar|regex|schema|template|pattern))"
        rf".*(?:{_COMPILES}).*)",
        example="RuntimeError: Failed to compile the fused kernel for head_dim 576",
        hint="Compiling failed: {message}",
    ),
    Signature(
        id="other_accelerator",
        failure_class="cuda_misc",
        needles=("NPU ", "ACL ", "MUSA ", "MLU ", "aicore"),
        tier=Tier.PLACED,
        pattern=rf"{_ANY}: (?P<message>.*(?:\bNPU (?:function )?error|\bACL \w+ \w+ failed|\b(?:MUSA|MLU) error"
        r"|aicore (?:error|exception)).*)",
        example="RuntimeError: ACL stream synchronize failed, error code:507015",
        hint="The accelerator reported: {message}",
    ),
    Signature(
        id="exception_in_collective",
        failure_class="nccl_or_distributed",
        needles=("Error",),
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=r"/torch/distributed/(?!elastic|tensor)|/pynccl|/ray/util/(?:collective|placement)",
        pattern=rf"^{_NAME}(?:RuntimeError|ValueError|Dist\w+Error): (?P<message>.+)",
        example=_FRAME.format("/opt/torch/distributed/rendezvous.py", "_env_rendezvous", "raise")
        + "ValueError: rank 3 does not belong to a world of 2",
        hint="Setting up or using the process group failed: {message}",
    ),
    Signature(
        id="exception_in_compiler",
        failure_class="compile_failure",
        # Torch names some of its exceptions without the word.
        needles=(":", "Error", "Exception"),
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=r"/torch/_(?:inductor|dynamo|functorch|subclasses|decomp|higher_order_ops)/(?!runtime/static)|/torch/fx/"
        r"|/triton/(?:compiler|backends|language|experimental/gluon/language|runtime/(?:jit|build|autotuner))"
        r"|/torch/(?:utils/cpp_extension|cuda/jiterator)\.py|torchinductor_|torch_compile_cache|/depyf/",
        pattern=r"^(?P<exception>(?!KeyboardInterrupt|SystemExit)[A-Za-z_][\w.]*)(?::|$)(?!.*(?:CUDA|HIP) error)",
        example=_FRAME.format(
            "/home/me/torchinductor_me/ab/cab.py", "call", "assert_size_stride(arg0)"
        )
        + "AssertionError: wrong number of dimensions3 for op: torch.ops.aten.convolution",
        hint="Compiling raised {exception}.",
    ),
    Signature(
        id="exception_while_compiling",
        failure_class="compile_failure",
        needles=("Error", "Exception"),
        within=_COMPILING,
        tier=Tier.PLACED,
        ends_traceback=True,
        pattern=rf"{_ANY}\b(?!.*(?:CUDA|HIP) error)",
        example=_FRAME.format(
            "/opt/tilelang/jit/kernel.py", "_compile_and_create_adapter", "lower("
        )
        + '  File "python/tvm_ffi/cython/function.pxi", line 758, in __call__\n'
        "tvm.error.InternalError: Check failed: (pci != nullptr) is false: ",
        hint="Compiling raised {exception}.",
    ),
    Signature(
        id="refusal",
        failure_class="unsupported_config",
        needles=("Error", "what()"),
        tier=Tier.PLACED,
        pattern=rf"{_REFUSES_WITHOUT_ASSERTING}: (?P<message>.*(?:{_REFUSAL}).*)|^{_NAME}ValueError: "
        rf"(?P<advice>.*(?:{_ADVISED}).*)",
        example="ValueError: Weight input_size_per_partition = 10944 is not divisible by "
        "min_thread_k = 128. Consider reducing tensor_parallel_size.",
        hint="It was refused, on any GPU: {message}",
    ),
    Signature(
        id="assertion_refuses",
        failure_class="unsupported_config",
        needles=("AssertionError: ",),
        never_within=_SERVING,
        tier=Tier.PLACED,
        pattern=rf"^{_NAME}AssertionError: (?P<message>.*(?:{_REFUSAL}).*)",
        example="AssertionError: FP8 KV cache is not supported with this backend",
        hint="It was refused, on any GPU: {message}",
    ),
    Signature(
        id="exception_named_after_config",
        failure_class="unsupported_config",
        needles=(
            *("ConfigError", "hydra.errors.", "omegaconf.errors.", "yaml."),
            *("ArgumentTypeError: ", "is not a valid JSON file"),
        ),
        tier=Tier.PLACED,
        pattern=r"^(?:[A-Za-z_][\w.]*\.)?(?:\w*Config|ArgumentType)Error: (?P<message>.+)"
        r"|^OSError: (?P<file>.*config file at .* is not a valid JSON file.*)"
        r"|^(?:hydra|omegaconf)\.errors\.\w+: (?P<key>.+)|^yaml\.(?:scanner|parser|constructor)\.\w+Error\b",
        example="deepspeed.runtime.config.DeepSpeedConfigError: fp16 and bf16 are both enabled",
        hint="The configuration was refused: {message}",
    ),
    Signature(
        id="quantization_refused",
        failure_class="unsupported_config",
        needles=("quantization",),
        tier=Tier.PLACED,
        # vLLM says it as an AttributeError.
        pattern=rf"^{_NAME}\w+Error: (?P<message>.*\b(?:does|do) not support (?:\S+ ){{0,3}}quantization\b.*)",
        example="AttributeError: Model Qwen2ForCausalLM does not support BitsAndBytes quantization yet.",
        hint="It was refused, on any GPU: {message}",
    ),
    Signature(
        id="exception_in_compilation_of_vllm",
        failure_class="compile_failure",
        needles=("Error", "Exception"),
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=r"/vllm/compilation/",
        pattern=rf"{_ANY}\b(?!.*(?:CUDA|HIP) error)",
        example=_FRAME.format("/opt/vllm/compilation/backends.py", "load", "graph = cache[key]")
        + "AssertionError: Unexpected number of submodules: 3",
        hint="Compiling raised {exception}.",
    ),
    Signature(
        id="exception_in_config",
        failure_class="unsupported_config",
        needles=("Error",),
        within=_CHECKING_CONFIG,
        tier=Tier.PLACED,
        ends_traceback=True,
        # A key that a dictionary lacks is a bug of what looks it up, unless somebody says so.
        pattern=r"^(?:ValueError|NotImplementedError|AssertionError|TypeError|KeyError(?!: '[^' ]*'$))"
        r"(?:: (?P<message>.*))?$",
        example=_FRAME.format("/opt/vllm/engine/arg_utils.py", "create_engine_config", "Config(")
        + "ValueError: numa_bind_nodes is empty.",
        hint="vLLM refused the engine arguments: {message}",
    ),
    Signature(
        id="exception_of_config",
        failure_class="unsupported_config",
        needles=("Error",),
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=_CONFIG_FILES,
        pattern=r"^(?:ValueError|NotImplementedError|AssertionError)(?:: (?P<message>.*))?$"
        r"|^TypeError: (?P<type>.*(?:must be|expected|xpects|nsupported).*)",
        example=_FRAME.format("/opt/vllm/config/parallel.py", "__post_init__", "raise ValueError(")
        + "ValueError: 3 ranks for 2 stages",
        hint="The configuration was refused: {message}",
    ),
    Signature(
        id="key_of_a_registry",
        failure_class="unsupported_config",
        needles=("KeyError: ",),
        tier=Tier.PLACED,
        ends_traceback=True,
        # A key that another dictionary lacks is a bug of what looks it up.
        raised_in=r"/(?:configuration_auto|auto_factory|quantization_config|\w*registry|argparse)\.py$",
        pattern=r"^KeyError: (?P<key>.*)",
        example=_FRAME.format(
            "/opt/transformers/models/auto/configuration_auto.py", "__getitem__", "raise KeyError"
        )
        + "KeyError: 'qwen3_next'",
        hint="The engine knows no {key}.",
    ),
    Signature(
        id="refused_while_building",
        failure_class="unsupported_config",
        needles=("ValueError: ",),
        within=_BUILDING_ENGINE,
        never_within=_RUNNING_ENGINE,
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=r"/vllm/(?!model_executor/model_loader/)",
        # What Python itself raises as a ValueError is a bug, not a refusal.
        pattern=r"^ValueError: (?P<message>(?!(?:not enough|too many) values|invalid literal|could not "
        r"convert|max\(\)|min\(\)|list\.remove|.* is not in list).+)",
        example=_FRAME.format("/opt/vllm/v1/worker/gpu_worker.py", "load_model", "load()")
        + '  File "/opt/vllm/model_executor/layers/linear.py", line 80, in __init__\n'
        "ValueError: partition sizes [1024, 3] differ from the head count",
        hint="The engine refused it while it was being built: {message}",
    ),
    Signature(
        id="refused_by_engine",
        failure_class="unsupported_config",
        needles=("ValueError: ",),
        never_within=_RUNNING_ENGINE,
        tier=Tier.PLACED,
        ends_traceback=True,
        deliberate=True,
        raised_in=_ENGINES,
        pattern=r"^ValueError: (?P<message>.+)",
        example=_FRAME.format(
            "/opt/vllm/engine/ray_utils.py", "initialize_cluster", "raise ValueError("
        )
        + "ValueError: Placement group bundle cannot have more than 1 GPU.",
        hint="The engine refused it: {message}",
    ),
    Signature(
        id="required_by_engine",
        failure_class="unsupported_config",
        needles=("require", "was requested but"),
        never_within=_RUNNING_ENGINE,
        tier=Tier.PLACED,
        ends_traceback=True,
        deliberate=True,
        raised_in=_ENGINES,
        pattern=r"^(?:RuntimeError|TypeError): (?P<message>.*(?:\brequires?\b(?! grad)|\b(?:is|are) required\b"
        r"|\bwas requested but\b).*)",
        example=_FRAME.format("/opt/vllm/kernels/linear/gemm.py", "init", "raise RuntimeError(")
        + "RuntimeError: GEMM-RS/AR requires NVLink multicast memory",
        hint="The engine refused it: {message}",
    ),
    Signature(
        id="asserted_while_building",
        failure_class="unsupported_config",
        needles=("AssertionError: ",),
        within=_BUILDING_ENGINE,
        never_within=_RUNNING_ENGINE,
        tier=Tier.PLACED,
        ends_traceback=True,
        raised_in=r"/vllm/(?:model_executor/(?:layers|kernels)|v1/attention|attention|lora)/",
        pattern=r"^AssertionError: (?P<message>.*\b(?:requires?|[Oo]nly|supports?|supported)\b.*)",
        example=_FRAME.format("/opt/vllm/v1/worker/gpu_worker.py", "load_model", "load()")
        + '  File "/opt/vllm/model_executor/layers/quantization/inc.py", line 80, in __init__\n'
        "AssertionError: INC int quantization requires scalar group_size, but found [128, 128].",
        hint="The engine refused it while it was being built: {message}",
    ),
    Signature(
        id="not_implemented",
        failure_class="unsupported_config",
        needles=("NotImplementedError",),
        tier=Tier.PLACED,
        ends_traceback=True,
        pattern=r"^NotImplementedError(?:: (?P<message>.*))?$",
        example=_FRAME.format("/opt/vllm/layers/rotary.py", "forward", "raise NotImplementedError")
        + "NotImplementedError: rope type llama4 with mrope",
        hint="The engine does not implement this: {message}",
    ),
    Signature(
        id="connector_failed",
        failure_class="nccl_or_distributed",
        needles=("ransfer", "NIXL", "nixl", "andshake", "server", "ooncake"),
        tier=Tier.PLACED,
        pattern=rf"{_ANY}: (?P<message>.*\b(?:[Tt]ransfer ?[Ee]ngine|NIXL|nixl|Mooncake|MoRIIO|[Hh]andshake"
        r"|(?:bootstrap|metadata) server|KV transfer)\b.{0,80}?\b(?:fail(?:ed|ure)|exited|mismatch|rejected|unexpected)\b.*"
        r"|.*\b[Ff]ailed to (?:connect|register|handshake|decode) .{0,60}\b(?:[Nn][Ii][Xx][Ll]\w*|Mooncake|(?:bootstrap"
        r"|metadata) server)\b.*)",
        example="RuntimeError: Mooncake Transfer Engine initialization failed.",
        hint="Setting up or using the process group failed: {message}",
    ),
    Signature(
        id="timeout_error",
        failure_class="timeout_hang",
        needles=("Timeout", "imed out", "imeout", "in time"),
        tier=Tier.PLACED,
        pattern=rf"^{_NAME}(?:Get)?Timeout(?:Error|Expired)(?:: (?P<message>.*))?$"
        rf"|{_ANY}: (?P<limit>.*(?:\b[Tt]imed out\b|\btimeout (?:of|after)\b|(?:start|respond|finish)\w*"
        r" (?:in time|within \d+)).*)",
        example=_FRAME.format("/usr/lib/python3.12/asyncio/tasks.py", "wait_for", "raise")
        + "TimeoutError: Timed out waiting for engines to send initial message on input socket.",
        hint="Something was waited for in vain: {message}",
    ),
)
"""In order of precedence on one line."""
