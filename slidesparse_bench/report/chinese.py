"""The Chinese of the report: templates of `say` by their English, and words for counts.

A new sentence needs an entry here, below the name of the file that says it, with the same fields;
`tests/test_report_languages.py` names those that are missing and those that nobody says any more.

Terms: cell 测试单元, attempt 尝试, trial 轮, engine 引擎, backend 后端, sparsity 稀疏度, throughput
吞吐量, speed-up 加速比, confidence interval 置信区间, root cause 根因, roofline 屋顶线, emulated 模拟.
Ids, class names, options, units and M stay as they are; prefill and decode stay where they name a
stage of a cell, and are 预填充 and 解码 where a step is meant.
"""

from __future__ import annotations

NOUNS = {
    "attempt": "次尝试",
    "cell": "个测试单元",
    "comparison": "组比较",
    "description": "份描述",
    "disturbed attempt": "次受干扰的尝试",
    "engine": "个引擎",
    "group": "组",
    "measurement": "次测量",
    "more wording": "种其他措辞",
    "number": "个数值",
    "other backend": "个其他后端",
    "other cell": "个其他测试单元",
    "other difference": "处其他差异",
    "process": "个进程",
    "round": "段",
    "series": "个序列",
    "worker process": "个工作进程",
}
"""Measure word and noun, by the English noun in the singular."""

SENTENCES = {
    # advice.py
    "too little memory at these settings; other settings may do": (
        "在当前设置下显存/内存不足；换一组设置也许可行"
    ),
    "this device cannot do it at any setting": "这台设备在任何设置下都做不到",
    "the circumstances, not the cell; the same attempt may pass later": (
        "是外部环境所致，与测试单元本身无关；同样的尝试稍后可能通过"
    ),
    "a defect in vLLM or in a library below it": "vLLM 或其下层库的缺陷",
    "the installation or the machine has to be repaired first": "需要先修复软件安装或机器",
    "the matrix or the model asks for something that cannot work": (
        "测试矩阵或模型提出了无法满足的要求"
    ),
    "the device is faulty": "设备有故障",
    "it ran, but not what was asked for, so there is no number": (
        "运行了，但运行的不是所要求的内容，因此没有数值"
    ),
    "a defect of slidesparse-bench": "slidesparse-bench 自身的缺陷",
    "the cause was not recognized": "未能识别原因",
    "not a failure": "不是失败",
    "**capacity**, to be settled by settings or by a smaller M": (
        "**容量问题**，可通过调整设置或减小 M 解决"
    ),
    "**hardware limit**: no setting helps, another GPU does": (
        "**硬件限制**：调整设置无济于事，需要换 GPU"
    ),
    "**circumstances**: nothing is known of the cell; try again": (
        "**环境偶发**：对该测试单元本身不能下任何结论；请重试"
    ),
    "**bug upstream**, no limit of the hardware: it needs a fix there": (
        "**上游 bug**，不是硬件限制：需要上游修复"
    ),
    "**environment**: repair the machine, then try again": "**环境问题**：先修复机器，再重试",
    "**configuration**: correct what was asked for": "**配置问题**：请改正所要求的内容",
    "**hardware fault**: do not use the device before it is replaced": (
        "**硬件故障**：更换设备之前不要再使用它"
    ),
    "**invalid measurement**: it ran, the number does not count": (
        "**无效测量**：运行过，但数值不作数"
    ),
    "**bug of slidesparse-bench**: report it with the attempt's folder": (
        "**slidesparse-bench 的 bug**：请连同该次尝试的目录一并上报"
    ),
    "**open**: somebody has to read the log": "**悬而未决**：需要有人阅读日志",
    "by the plan it needs more memory than there is": "按计划估算，所需显存超过设备所有",
    "the device or this version cannot run it": "该设备或该版本无法运行",
    # anomalies.py
    "Speed-ups that stand alone: {n}": "孤立的加速比：{n} 处",
    "Rule: more than {factor} times above or below the median of up to two neighbours in M on "
    "either side. The last column says which of both rates does not fit its own neighbours: a "
    "cold start inside a measurement, or memory that had spilled to the host, moves the "
    "quotient without any difference of the kernels.": (
        "规则：高于或低于两侧各至多两个相邻 M 的中位数 {factor} 倍以上。最后一列说明两个速率中"
        "哪一个与自身的相邻点不符：测量中夹带的冷启动，或溢出到主机内存的显存，都会在 kernel 没"
        "有差别的情况下改变这个商。"
    ),
    "Speed-ups beyond what the zeros can save: {n}": "超过稀疏度理论上限的加速比：{n} 处",
    "Rule: over the best dense backend, more than {factor} times L/(L-2), the arithmetic that "
    "`2:L` leaves out. What is beyond it comes from another kernel, a weak dense backend or "
    "the measurement.": (
        "规则：相对最佳稠密后端，超过 L/(L-2)（即 `2:L` 所省去的计算量）的 {factor} 倍。超出的"
        "部分来自另一种 kernel、较弱的稠密后端，或测量本身。"
    ),
    "Rates that do not fit their neighbours in M: {n}": "与相邻 M 不符的速率：{n} 处",
    "Rule: from one M to the next a rate grows at most in proportion to M; more than {most} "
    "times that marks the smaller M as too slow (a cold start?). Below {least} of the rate at "
    "the smaller M the larger one is marked (device memory that spilled to the host, as under "
    "WSL2, instead of an out-of-memory error?).": (
        "规则：从一个 M 到下一个 M，速率至多按 M 成比例增长；超过该比例的 {most} 倍时，较小的 M"
        " 被标记为过慢（冷启动？）。低于较小 M 速率的 {least} 倍时，标记较大的 M（显存溢出到主"
        "机内存而没有报显存不足，例如在 WSL2 下？）。"
    ),
    "References weaker than another dense backend: {groups}": "参考后端弱于其他稠密后端：{groups}",
    "Rule: another dense backend at least {factor} times as fast. A speed-up over such a "
    "reference flatters; the one over the best dense backend stands beside it.": (
        "规则：另一个稠密后端至少快 {factor} 倍。相对这样的参考后端，加速比会偏高；旁边同时给出"
        "相对最佳稠密后端的加速比。"
    ),
    "Passed where others overflowed: {cells}": "其他后端溢出而该单元通过：{cells}",
    "Rule: its gate_up output has more than 2^31 - 1 elements, and other backends of the same "
    "model, stage and M died of an illegal access. The same kernel may have written to wrong "
    "places without anybody noticing: check the values before using the number.": (
        "规则：其 gate_up 输出超过 2^31 - 1 个元素，而同一模型、阶段和 M 的其他后端死于非法内存"
        "访问。同一个 kernel 可能已经悄悄写到了错误的位置：使用该数值之前请先核对计算结果。"
    ),
    "Series with holes: {series}": "有缺口的序列：{series}",
    "Rule: M without a number between two with one, or the only numbers between two without. "
    "Memory and time grow with M, so a series should end once; this one was at the edge of "
    "something that changed between its attempts.": (
        "规则：在两个有数值的 M 之间缺少数值，或仅在两个没有数值的 M 之间有数值。显存和时间都随"
        " M 增长，因此一个序列应当只终止一次；该序列处于某种边缘，而边缘条件在各次尝试之间发生"
        "了变化。"
    ),
    "Repeated cells that contradict themselves: {cells}": "重复测量自相矛盾：{cells}",
    "Rule: successful attempts at one cell differ by more than {share} of their median. The "
    "newest one counts; a speed-up of the size of the difference is no finding.": (
        "规则：同一测试单元的多次成功尝试之差超过其中位数的 {share}。以最新的一次为准；与该差异"
        "同等大小的加速比不构成结论。"
    ),
    "Series under mixed conditions: {series}": "条件混杂的序列：{series}",
    "Rule: some of its numbers were measured with other engine arguments, or on another "
    "device, than most of them.": (
        "规则：其中部分数值使用了与多数数值不同的引擎参数，或在另一台设备上测得。"
    ),
    "neither by itself": "单独看两者都相符",
    "cells of": "模型、量化与阶段",
    "reference": "参考",
    "at most": "最大",
    "as planned": "按计划",
    "Anomalies": "异常数据",
    "out of line": "不相符的一方",
    "the reference": "参考后端",
    "{rate} at M = {m}": "M = {m} 时 {rate}",
    "finding": "结论",
    "{cell}: {rows} x {columns} = {elements} elements": (
        "{cell}：{rows} x {columns} = {elements} 个元素"
    ),
    "cell": "测试单元",
    "interval wider than ±{limit}: {cells}, the widest {widest}": (
        "置信区间宽于 ±{limit}：{cells}，最宽的是 {widest}"
    ),
    "throttled while measuring, the power limit apart: {cells}": (
        "测量时发生降频（功耗上限除外）：{cells}"
    ),
    "disturbed while measuring: {cells}": "测量时受到干扰：{cells}",
    "Conditions of the measurement": "测量条件",
    "None of the rules of this section found anything.": "本节的各条规则均未发现异常。",
    "backend": "后端",
    "speed-up": "加速比",
    "median of the neighbours": "相邻点的中位数",
    "rate": "速率",
    "rate of the reference": "参考后端的速率",
    "the sparse backend": "稀疏后端",
    "too slow a start": "起始过慢",
    "host-bound": "受主机限制",
    "host-bound, without a CUDA graph of its M": "受主机限制，没有对应其 M 的 CUDA graph",
    "falls off": "骤降",
    "neighbour": "相邻点",
    "{backend} {ratio}x at M = {m}": "M = {m} 时 {backend} 为 {ratio}x",
    "{series}: no number at M = {ms}": "{series}：M = {ms} 处没有数值",
    "{series}: a number only at M = {ms}, none beside it": (
        "{series}：仅在 M = {ms} 处有数值，相邻处均无"
    ),
    "difference": "差异",
    "rates, oldest first": "各次速率（由旧到新）",
    # appendix.py
    "With the versions named above:": "使用上文所列版本：",
    "`{run}/cells/<cell id>/attempt-<n>/`: `request.json`, `result.json`, `attempt.json`, "
    "`worker.log`, `phases.jsonl`, `telemetry.csv`; the evidence of failures is given relative "
    "to the run folder": (
        "`{run}/cells/<cell id>/attempt-<n>/`：`request.json`、`result.json`、`attempt.json`、`"
        "worker.log`、`phases.jsonl`、`telemetry.csv`；失败证据的路径均相对于运行目录"
    ),
    "All cells": "全部测试单元",
    "The same rows, with all columns, are in `results.csv`.": (
        "包含全部列的同样各行见 `results.csv`。"
    ),
    "Measured anew with slidesparse-bench, which is not the tool of these numbers:": (
        "用 slidesparse-bench 重新测量（这些数值并非由它测得）："
    ),
    "`{run}/cells/<cell id>/attempt-<n>/`: `result.json`, `attempt.json`, `worker.log` (the "
    "part of the foreign log, byte for byte), `source.json` (which file and which lines); the "
    "evidence of failures is given relative to the run folder": (
        "`{run}/cells/<cell id>/attempt-<n>/`：`result.json`、`attempt.json`、`worker.log`（外"
        "部日志中的对应部分，逐字节一致）、`source.json`（来自哪个文件的哪些行）；失败证据的路"
        "径均相对于运行目录"
    ),
    "`{run}/engines/<n>/`: request, log and phases of an engine that cells shared; their "
    "attempts link to them": (
        "`{run}/engines/<n>/`：多个测试单元共用的引擎的请求、日志和阶段；各次尝试链接到这里"
    ),
    "This run was started with {command}.": "本次运行的启动命令为 {command}。",
    "Reproduction": "复现",
    "Files": "文件",
    "notes": "注释",
    "state": "状态",
    "class": "类别",
    "output tokens/s": "输出 tokens/s",
    "median step, ms": "单步中位数，ms",
    "iterations": "迭代次数",
    "memory utilization": "显存占用比例",
    "attempts": "尝试次数",
    "duration": "时长",
    "reason": "原因",
    "beside this report: `results.csv` (one row per cell), `metrics.csv` (every metric of "
    "every cell), `speedup.csv` (the rates and speed-ups of the tables above), `plots/`": (
        "与本报告同目录：`results.csv`（每个测试单元一行）、`metrics.csv`（每个测试单元的全部指"
        "标）、`speedup.csv`（上文各表的速率和加速比）、`plots/`"
    ),
    "`{run}/matrix.yaml`, `plan.json`, `environment.json`: what was asked for, what was "
    "expected, and on what it ran": (
        "`{run}/matrix.yaml`、`plan.json`、`environment.json`：要求了什么、预期是什么、在什么环"
        "境上运行"
    ),
    "`{run}/journal.jsonl` (every event), `status.json` (its sum)": (
        "`{run}/journal.jsonl`（全部事件）、`status.json`（其汇总）"
    ),
    "The run has no cells.": "本次运行没有测试单元。",
    # attempts.py
    "All {attempts}": "全部 {attempts}",
    "engine {engine}, cell {place} of {served}": (
        "引擎 {engine}，第 {place} 个单元，共 {served} 个"
    ),
    "no exit code": "无退出码",
    "timed_out": "超时",
    "silent": "无输出",
    "interrupted": "被中断",
    "lost": "下落不明",
    "What was tried": "各次尝试经过",
    "none on record": "没有记录",
    "{before}, then {next}": "{before}，随后 {next}",
    "another tool decided, and did not say why": "由其他工具决定，未说明理由",
    "measured, but disturbed": "已测得，但受到干扰",
    "worked": "成功",
    "did not end": "未结束",
    "An engine that several cells share may die of what another cell did. A failure there is "
    "no reason to call its cell failed: it is tried again in a process of its own.": (
        "多个测试单元共用的引擎可能因另一个单元的行为而崩溃。在其中失败不足以判定该单元失败：它"
        "会在独立进程中再次尝试。"
    ),
    "engine {engine}, before its first cell": "引擎 {engine}，在其第一个单元之前",
    "no attempt on record": "没有尝试记录",
    "its engine went on with the next cell": "其引擎继续测量下一个单元",
    "exit code {code}": "退出码 {code}",
    "signal {signal}": "信号 {signal}",
    "{how} in phase {phase}": "{how}，阶段 {phase}",
    "no log on record": "没有日志记录",
    "attempts, in order": "各次尝试（按时间顺序）",
    "why no further one": "为何没有再试",
    "{what}, {n} times": "{what}，共 {n} 次",
    "{name} in a shared engine": "共用引擎中的 {name}",
    "trial": "轮次",
    "planned": "按计划",
    "shared engine": "共用引擎",
    "own": "独立进程",
    "cells": "测试单元",
    "time": "时间",
    "process": "进程",
    "settings": "设置",
    "outcome": "结果",
    "evidence": "证据",
    "why tried": "尝试理由",
    "Evidence is given relative to `cells/<cell>/attempt-<n>/` of the run folder.": (
        "证据路径均相对于运行目录下的 `cells/<cell>/attempt-<n>/`。"
    ),
    # cell_view.py
    "pending": "待运行",
    "running": "运行中",
    "passed": "通过",
    "failed": "失败",
    "skipped": "跳过",
    "{name} set to {value}": "{name} 设为 {value}",
    "failed: {failure_class}": "失败：{failure_class}",
    "skipped: {reason}": "跳过：{reason}",
    "passed: no metrics on record": "通过，但没有指标记录",
    # changes.py
    "other GPUs": "其他 GPU",
    "and {others}": "以及{others}",
    # completeness.py
    "not known, no cell has telemetry": "未知，没有测试单元带有遥测数据",
    "{n} of {cells} have numbers ({share}).": "{cells}中有 {n} 个有数值（{share}）。",
    "interval as narrow as asked for: {n} of {total}; the widest is ±{widest}": (
        "置信区间达到要求精度：{n}/{total}；最宽为 ±{widest}"
    ),
    "{n} of {steps} ({share}), in {some} of {cells}": (
        "{steps} 步中有 {n} 步（{share}），涉及{cells}中的 {some} 个"
    ),
    "{n} of {cells} with telemetry": "带遥测数据的{cells}中有 {n} 个",
    "{capped} by the power limit (`{reason}`), {otherwise} otherwise, of {cells} with telemetry": (
        "带遥测数据的{cells}中，{capped} 个受功耗上限限制（`{reason}`），{otherwise} 个因其他原因"
    ),
    "Metrics that are missing in some or all of {cells}:": "{cells}中部分或全部缺失的指标：",
    "verdict of the plan": "计划的判断",
    "{n} of {cells} have numbers.": "{cells}中有 {n} 个有数值。",
    "M of every measured step verified: {n} of {total}": "每个被测步的 M 均已核实：{n}/{total}",
    "outliers among the steps, all kept: {what}": "各步中的离群值（全部保留）：{what}",
    "disturbed while measuring: {what}": "测量时受到干扰：{what}",
    "GPU throttled while measuring: {what}": "测量时 GPU 降频：{what}",
    "kernels that ran: {kernels}": "实际运行的 kernel：{kernels}",
    "devices that ran: {devices}": "实际使用的设备：{devices}",
    "interval as narrow as asked for: {n} of {total}": "置信区间达到要求精度：{n}/{total}",
    "not counted": "未统计",
    "Verdicts of the plan and what happened": "计划的判断与实际结果",
    "Data completeness": "数据完整性",
    "emulated kernels, in no speed-up: {n} of {total}": (
        "模拟 kernel（不计入任何加速比）：{n}/{total}"
    ),
    "processes that outlived their attempt and had to be ended: {n}": (
        "在尝试结束后仍存活、不得不被终止的进程：{n}"
    ),
    "faster than the physical limit: {n} of {cells} with a known limit": (
        "快于物理上限：已知上限的{cells}中有 {n} 个"
    ),
    "Every cell with numbers has every metric (`metrics.csv`).": (
        "每个有数值的测试单元都具备全部指标（`metrics.csv`）。"
    ),
    "what it needs": "所需条件",
    "Missing metrics": "缺失的指标",
    "The plan holds no verdicts, so they cannot be compared with what happened.": (
        "计划中没有判断，因此无法与实际结果对照。"
    ),
    "State of every cell": "各测试单元的状态",
    "counts": "计入",
    "measured again": "已重新测量",
    "disturbed by": "干扰来源",
    "number": "数值",
    "metric": "指标",
    "unit": "单位",
    "present": "已有",
    # engines.py
    "The algorithm of every GEMM that an engine chose is in the `result.json` of its attempts "
    "(`gemms`).": ("引擎所选的每个 GEMM 的算法记录在其各次尝试的 `result.json`（`gemms`）中。"),
    "The engines were those of another tool ({attempts}). None described itself: which kernels "
    "its layers ran on, and its effective configuration, are not on record. The engine "
    "arguments of every attempt are in its `attempt.json`, as the foreign log printed them.": (
        "引擎属于其他工具（{attempts}）。它们都没有描述自身：各层运行在哪些 kernel 上、实际生效"
        "的配置是什么，均无记录。每次尝试的引擎参数见其 `attempt.json`，与外部日志打印的一致。"
    ),
    "After measuring, a worker process describes what ran in it, by looking at it: "
    "{descriptions} on record (`environment.json`).": (
        "测量之后，工作进程通过直接查看来描述其中运行了什么：共有{descriptions}（`environment.j"
        "son`）。"
    ),
    "cold": "冷",
    "warm": "热",
    "disabled": "已禁用",
    "unused": "未使用",
    "What the engine found, the effective configuration included": (
        "该引擎所查明的事实，包括实际生效的配置"
    ),
    "Installed distributions that can move a number": "可能影响数值的已安装软件包",
    "Distributions imported by the first engine": "第一个引擎导入的软件包",
    "Environment variables that can move a number": "可能影响数值的环境变量",
    "No engine left a description of itself: nothing was measured, or the run is older than "
    "that record.": ("没有引擎留下自我描述：要么什么都没有测量，要么该次运行早于这项记录。"),
    "model": "模型",
    "quantization": "量化",
    "kernel classes (layers)": "kernel 类（层数）",
    "Kernel classes": "kernel 类",
    "{state} in {engines}": "{engines}为{state}",
    "none": "无",
    "What all engines found, the effective configuration included": (
        "所有引擎一致查明的事实，包括实际生效的配置"
    ),
    "Distributions imported by all engines": "所有引擎导入的软件包",
    "Engines": "引擎",
    "Where it was cold, something had to be compiled, and `load_time_s` contains that.": (
        "缓存为冷时需要进行编译，这段时间包含在 `load_time_s` 中。"
    ),
    "vLLM's compile cache was {states}.": "vLLM 的编译缓存：{states}。",
    "They differ in {facts} as well.": "此外它们在 {facts} 上也有差别。",
    "own process": "独立进程",
    "variable": "变量",
    "value": "取值",
    "engine": "引擎",
    "device": "设备",
    "start-up": "启动时间",
    "compile cache": "编译缓存",
    "fact": "事实",
    # failures.py
    "All failed attempts by their first cause, also those at cells that passed later:": (
        "全部失败尝试按首因归类，其中也包括后来通过的测试单元："
    ),
    "Passed at a later attempt: {cells}": "后续尝试中通过：{cells}",
    "Failed attempts by class": "按类别统计的失败尝试",
    "**Refused at start-up:** {attempts} at {cells} asked for a `gpu_memory_utilization` of "
    "{asked} when {free} could start. Nothing ran, so nothing is known of these cells from "
    "them; asking for still more could not help.": (
        "**启动时被拒绝：** 针对{cells}的{attempts}要求 `gpu_memory_utilization` 为 {asked}，而"
        "当时最高只能以 {free} 启动。什么都没有运行，因此无法据此判断这些单元；要求更多也不可能有"
        "帮助。"
    ),
    "**What it is:** {what}": "**含义：** {what}",
    "**Symptom:** {endings}": "**症状：** {endings}",
    "**Verdict:** {verdict}": "**判定：** {verdict}",
    "**Advice:** {advice}": "**建议：** {advice}",
    "**Conclusion:** {conclusion}": "**结论：** {conclusion}",
    "none: no cause is on record": "无：没有原因记录",
    "**The plan had warned** of {cells}: {warning}": "**计划曾就{cells}发出警告：** {warning}",
    "{place} (and {others} alike)": "{place}（另有{others}相同）",
    "Failures": "失败原因分析",
    "Affected cells:": "影响范围：",
    "What was tried:": "各次尝试经过：",
    "**Facts:** {facts}": "**数据：** {facts}",
    "{series}: M = {ms} ({n} of {planned})": "{series}：M = {ms}（{planned} 个中的 {n} 个）",
    "No root cause is on record.": "没有根因记录。",
    "{wordings}: in the table of all cells.": "{wordings}：见全部测试单元的表格。",
    "No cell failed.": "没有测试单元失败。",
    "cells tried": "涉及的单元",
    "cells failed of it": "因此失败的单元",
    "verdict": "判定",
    "what it is": "含义",
    "Root cause, {where}:": "根本原因，{where}：",
    # fastest.py
    "The fastest backend": "最快的后端",
    "The fastest backend at each M": "各 M 下最快的后端",
    "The highest rate of each M over all backends and quantizations, and its lead over the second "
    "highest; `~` marks a lead within its interval: no difference was found.": (
        "各 M 下所有后端与量化中的最高速率，及其对第二名的领先幅度；`~` 表示领先幅度在其置信区间之"
        "内：未发现差异。"
    ),
    "Not ranked, although it might be faster: what Anomalies doubts (`?`), and what has no number.": (
        "未参与排名、但有可能更快的：“异常数据”所怀疑的（`?`），以及没有数值的。"
    ),
    "With one trial, a lead of a few percent is no finding (see Methods).": (
        "只测一轮时，百分之几的领先不构成结论（见“方法”）。"
    ),
    "Of {n} rows the fastest is {names}.": "在 {n} 行中，最快的是：{names}。",
    "{name} in {n}": "{name} {n} 行",
    "In {n} the lead is within its interval.": "其中 {n} 行的领先幅度在其置信区间之内。",
    "fastest": "最快",
    "tokens/s": "tokens/s",
    "second": "第二",
    "lead": "领先",
    "not ranked": "未排名",
    "{cells} in doubt (`?`)": "{cells}存疑（`?`）",
    "{cells} without a number": "{cells}没有数值",
    # figures.py
    "speed-up over {backend}": "相对 {backend} 的加速比",
    "{group} (fake engine: not a measurement)": "{group}（fake 引擎：并非测量结果）",
    "{run}: state of every cell": "{run}：各测试单元的状态",
    "hollow: in doubt (see Anomalies)": "空心：存疑（见“异常数据”）",
    # foreign_methods.py
    "**The tool.** `vllm bench` measured these numbers; how it was called is only known as far "
    "as its JSON files and the command that imported them tell.": (
        "**工具。** 这些数值由 `vllm bench` 测得；其调用方式仅限于 JSON 文件和导入命令所说明的"
        "内容。"
    ),
    "**Rates.** `tokens_per_second` means the same as with slidesparse-bench: prompt and "
    "output tokens over the elapsed time. There are no step times, so there are no intervals.": (
        "**速率。** `tokens_per_second` 与 slidesparse-bench 的含义相同：提示 token 与输出 toke"
        "n 之和除以耗时。没有单步时间，因此没有置信区间。"
    ),
    "**Decode** has no rate of the pure decode steps here: `tokens_per_second` includes the "
    "prefill, and 6.25 % of its tokens are prompts.": (
        "**Decode** 在此没有纯解码步的速率：`tokens_per_second` 包含预填充，其中相当于输出量 6."
        "25 % 的 token 是提示。"
    ),
    "**Failures** were classified by slidesparse-bench from the logs, not by what the tool "
    "called them.": ("**失败** 由 slidesparse-bench 根据日志分类，不采用原工具给出的名称。"),
    "**Settings** are those of the recorded command lines. A number on settings other than "
    "those of its cell's first attempt carries a mark.": (
        "**设置** 取自所记录的命令行。若数值所用设置不同于该单元的第一次尝试，则带有标记。"
    ),
    "**The tool.** The public SlideSparse scripts start one fresh `vllm bench throughput` "
    "process per cell. Its `elapsed_time` is that of the generate call alone; the first "
    "forward pass of a new shape, with its compilation, is inside it. There is no warm-up.": (
        "**工具。** 公开的 SlideSparse 脚本为每个测试单元启动一个全新的 `vllm bench throughput`"
        " 进程。其 `elapsed_time` 仅为 generate 调用的时间；新形状的首次前向及其编译也计入其中"
        "。没有预热。"
    ),
    "**The work.** prefill: prompts of min(M, 1024) random tokens, 128 x `max_num_seqs` of "
    "them, one output token each. decode: M prompts of 16 tokens, 256 output tokens each.": (
        "**负载。** prefill：min(M, 1024) 个随机 token 的提示，共 128 x `max_num_seqs` 个，各输"
        "出一个 token。decode：M 个 16 token 的提示，各输出 256 个 token。"
    ),
    "**The M is not proven.** Requests are scheduled as they arrive and nobody recorded the "
    "steps: the M of a cell is the one that was asked for.": (
        "**M 未经证实。** 请求到达即被调度，且没有人记录各步：单元的 M 只是所要求的 M。"
    ),
    "**Once.** Nothing was repeated on purpose. Where a cell was run several times, its newest "
    "success counts.": (
        "**单次测量。** 没有任何有意的重复。若某单元运行过多次，以最新一次成功为准。"
    ),
    "Warnings of the import: {n}": "导入时的警告：{n} 条",
    "What nobody recorded:": "无人记录的内容：",
    "Not on record": "没有记录",
    "what": "内容",
    "why it is not known": "未知的原因",
    # groups.py
    "{backend} ({share} zeros)": "{backend}（{share} 为零）",
    # html_writer.py
    "Skip to the content": "跳到正文",
    "Contents": "目录",
    # index_limits.py
    "**Likely cause:** a 32-bit index. In {n} of {cells} the gate_up output has M x 2 x "
    "intermediate_size = {rows} x {columns} = {elements} elements or more, and 2^31 - 1 = "
    "{limit} is the most that 32 bits can count. Above it {passed} of this run passed. That is "
    "a defect of a kernel, which 64-bit offsets mend, and no lack of memory.": (
        "**可能的根因：** 32 位索引溢出。{cells}中有 {n} 个，其 gate_up 输出达到 M x 2 x interm"
        "ediate_size = {rows} x {columns} = {elements} 个元素或更多，而 32 位最多只能表示 2^31 "
        "- 1 = {limit}。在此之上，本次运行中有{passed}通过。这是 kernel 的缺陷，改用 64 位偏移"
        "即可修复，并非显存不足。"
    ),
    "an illegal address on the GPU, very likely from a kernel's 32-bit index": (
        "GPU 上的非法地址，很可能源于 kernel 的 32 位索引"
    ),
    "an illegal address on the GPU, in {n} of {cells} very likely from a kernel's 32-bit index": (
        "GPU 上的非法地址，{cells}中有 {n} 个很可能源于 kernel 的 32 位索引"
    ),
    # limits.py
    "An empty field was not measured: its rounds were too short for the samples, or the driver "
    "does not tell (`docs/metrics.md`, Telemetry).": (
        "空白处表示未测得：测量轮次太短、采样不足，或驱动不提供（`docs/metrics.md`，Telemetry）。"
    ),
    "no cell has telemetry (NVML: {why})": "没有测试单元带有遥测数据（NVML：{why}）",
    "Power and limit of {group}": "{group} 的功耗与上限",
    "compute": "计算",
    "memory": "内存",
    "{backends} at M = {ms}": "{backends}，M = {ms}",
    "there is no telemetry of a CPU": "CPU 没有遥测数据",
    "no cell has telemetry": "没有测试单元带有遥测数据",
    "not on record": "没有记录",
    "source not on record": "来源没有记录",
    "Power and the physical limit, {cells}": "功耗与物理上限（屋顶线），{cells}",
    "of the limit": "占上限",
    "bound": "瓶颈",
    "From {least} to {most} of the limit.": "占上限的比例从 {least} 到 {most}。",
    "The load reached the power limit (`{reason}`), so the driver lowered the clock: {places}.": (
        "负载达到功耗上限（`{reason}`），驱动因此降低了频率：{places}。"
    ),
    "**Faster than the limit**, {place}: {why}.": "**快于上限**，{place}：{why}。",
    "Power, clocks and the physical limit are left out: {reasons}.": (
        "此处不列功耗、频率与物理上限：{reasons}。"
    ),
    "left out is what is not known: {reasons}": "以下未知内容不列出：{reasons}",
    "Below the rates stands what the device did:": "速率之下给出设备当时的状态：",
    "the fake engine computes nothing": "fake 引擎不做任何计算",
    "the work of a step is not on record": "未记录每步的计算量",
    "{first} and {second}": "{first}，且{second}",
    "`W`: energy by the driver's counter over time (`s`), `tokens/J`: prompt and output tokens over "
    "that energy. The energy is known to 0.2 s of power per round at worst, which is 20 % of a round of one "
    "second and 2 % of one of ten": (
        "`W`：驱动能量计数器给出的能量除以时间（`s`）；`tokens/J`：提示 token 与输出 token 之和除以该"
        "能量。每轮能量的误差最坏为 0.2 s 的功耗，即一秒的轮次为 20 %，十秒的轮次为 2 %"
    ),
    "`W` without `tokens/J`: mean of the power samples; no energy is known there": (
        "没有 `tokens/J` 的 `W`：功耗采样的均值；那里的能量未知"
    ),
    "`W`: mean of the power samples, which swing: in a cell that was measured for a second (`s`) it "
    "can be off by more than 10 %": (
        "`W`：功耗采样的均值；采样波动较大，只测量了一秒（`s`）的单元可偏差 10 % 以上"
    ),
    "`SM MHz`: mean of the samples of the SM clock": "`SM MHz`：SM 频率采样的均值",
    "arithmetic at an SM clock of {clock} MHz, with which the tensor cores' rates scale: where "
    "`compute` binds, the least time at the clock of a cell (`SM MHz`) is shorter above that clock and "
    "longer below it": (
        "运算速率对应 {clock} MHz 的 SM 频率，tensor core 的速率与频率成正比：在受`计算`限制之处，"
        "单元的频率（`SM MHz`）高于它时最短时间更短，低于它时更长"
    ),
    "`TFLOP/s`: arithmetic of the dense 8-bit linears, whatever a backend skips of it, over "
    "the mean step time": (
        "`TFLOP/s`：稠密 8 位线性层的计算量（不论后端跳过多少）除以平均单步时间"
    ),
    "`TB/s`: the bytes that a step cannot avoid moving, over the same time": (
        "`TB/s`：一步中无法避免搬运的字节数除以同一时间"
    ),
    "`of the limit`: the least time a step can take, over the time it took; `bound`: what sets "
    "that least time. Rates of the device: {rates}": (
        "`占上限`：一步所需的最短时间除以实际时间；`瓶颈`：决定该最短时间的因素。设备峰值：{rates}"
    ),
    "Power and the physical limit:": "功耗与物理上限（屋顶线）：",
    "Above the limit as well: {places}.": "同样超过上限：{places}。",
    "The architecture of {model} is not known, so its limit is not either.": (
        "{model} 的架构未知，因此其上限也未知。"
    ),
    "No peak rate for {quantization} is known of this device.": (
        "该设备 {quantization} 的峰值速率未知。"
    ),
    "the peak rates of this device are not known (`slidesparse doctor --measure` measures them)": (
        "该设备的峰值速率未知（可用 `slidesparse doctor --measure` 测量）"
    ),
    "a sparse cell is judged by the lower limit of 2:4 tensor cores: it can have the smaller "
    "share and yet be the faster one": (
        "稀疏单元按 2:4 tensor core 的较低时间下限评判：它占上限的比例可能更小，却仍然更快"
    ),
    # measures.py
    "telemetry of an NVIDIA GPU (NVML)": "NVIDIA GPU 的遥测数据（NVML）",
    "a run of format 2 or later": "格式 2 或更新的运行",
    "a model whose architecture is known": "架构已知的模型",
    "known peak rates of the device (`slidesparse doctor --measure`)": (
        "已知的设备峰值速率（`slidesparse doctor --measure`）"
    ),
    "prompt tokens counted apart from output tokens": "提示 token 与输出 token 分开计数",
    "output tokens counted apart, in decode by step": "输出 token 分开计数，decode 时按步计数",
    "a worker that timed every step": "对每一步计时的工作进程",
    "an engine that reports the memory of its weights": "报告权重显存的引擎",
    "an engine that reports its KV cache": "报告 KV cache 的引擎",
    "an engine that reports its peak": "报告显存峰值的引擎",
    "a worker that timed its start-up": "对启动过程计时的工作进程",
    "an NVIDIA GPU: only there the engine's thread is watched": "NVIDIA GPU：仅在此处监视引擎线程",
    "a version that tells": "会记录它的版本",
    "an NVIDIA GPU, asynchronous scheduling, a single rank, and a version that looks for it": (
        "NVIDIA GPU、异步调度、单个 rank，以及会查看它的版本"
    ),
    # means.py
    "Geometric mean over M against {what}: {means}.": "相对{what}，对各 M 的几何平均：{means}。",
    "the best dense backend, at M where no dense one is missing": (
        "最佳稠密后端（仅限不缺任何稠密后端的 M）"
    ),
    "{mean} ({n} of {ms} M)": "{mean}（{ms} 个 M 中的 {n} 个）",
    "{mean} ({n} of {ms} M; {others} left out)": (
        "{mean}（{ms} 个 M 中的 {n} 个；{others} 个不计入）"
    ),
    # memory.py
    "**hardware limit**: no setting helps": "**硬件限制**：调整设置无济于事",
    "refused by the plan: too much at any setting": "被计划拒绝：任何设置下都超出",
    "by the estimate no setting of this GPU is enough": "按估算，在该 GPU 上无论如何设置都放不下",
    "the estimate is too low: an attempt showed otherwise": ("估算偏低：已有尝试证明并非如此"),
    "What no setting of this run's GPU removes:": "本次运行的 GPU 上，任何设置都无法消除的限制：",
    "Cells that ran short of memory: {cells}": "显存不足的测试单元：{cells}",
    "{gpu} has {memory}; {share} of it ({given}) is the most that an engine could start with.": (
        "{gpu} 有 {memory}；其中引擎最多能以 {share}（{given}）启动。"
    ),
    "Computed by the memory model of the plan (`docs/memory.md`). {given} GPUs are those of "
    "the plan, at `gpu_memory_utilization` {utilization}.": (
        "按计划所用的显存模型（`docs/memory.md`）计算。{given}所列 GPU 采用计划的条件，即 `gpu_"
        "memory_utilization` {utilization}。"
    ),
    "`gpu_memory_utilization` {value} would do by the estimate": (
        "按估算，`gpu_memory_utilization` {value} 即可"
    ),
    "starts with `gpu_memory_utilization` {value} by the estimate, but M is not reached: that needs "
    "{needed} GiB": (
        "按估算，`gpu_memory_utilization` {value} 可以启动，但达不到 M：为此需要 {needed} GiB"
    ),
    "How many of these cells fit on which GPU, by the plan:": (
        "按计划估算，各 GPU 能容纳其中多少个单元："
    ),
    "Measure {cells} on a GPU with more memory: {gpu} is the smallest known one that holds all "
    "{fitting} that fit any.": (
        "在显存更大的 GPU 上测量{cells}：能容纳全部 {fitting} 个的最小已知 GPU 为 {gpu}。"
    ),
    "No limit was found that settings cannot remove.": "没有发现设置无法消除的限制。",
    "What they need cannot be computed: the GPU's memory or the model's architecture is not "
    "known.": ("无法计算其需求：GPU 的显存或模型的架构未知。"),
    "Computed by the memory model of the plan (`docs/memory.md`) for what the foreign tool "
    "asks of the memory: KV cache for one sequence, not for the whole batch. {given} GPUs are "
    "those of the plan, at `gpu_memory_utilization` {utilization} and with the demand of "
    "slidesparse-bench: the whole batch at once.": (
        "按计划所用的显存模型（`docs/memory.md`），以外部工具的显存需求计算：KV cache 只需容纳"
        "一条序列，而不是整个批次。{given}所列 GPU 采用计划的条件，即 `gpu_memory_utilization` "
        "{utilization}，并按 slidesparse-bench 的需求：整个批次同时驻留。"
    ),
    "none that is known": "没有已知的 GPU",
    "{cells} fit no GPU that is known: measure a smaller M or use `tensor_parallel_size`.": (
        "{cells}在任何已知 GPU 上都放不下：请减小 M 或使用 `tensor_parallel_size`。"
    ),
    "Limits and recommendations": "限制与建议",
    "Limits that no setting removes": "调整设置无法消除的限制",
    "**Memory**, {cells}: they need {least} to {most} where {gpu} can give {given}, or their "
    "weights alone did not load ({series}).": (
        "**显存**，{cells}：需要 {least} 至 {most}，而 {gpu} 只能提供 {given}；或仅权重就无法加"
        "载（{series}）。"
    ),
    "**Memory, by the plan**, {cells}: refused before they were started, because no setting "
    "would have been enough ({series}).": (
        "**显存（按计划）**，{cells}：没有任何设置足够，因此在启动之前即被拒绝（{series}）。"
    ),
    "**Very likely a kernel's 32-bit index**, {cells}: a bug that has to be mended in the kernel; "
    "a GPU with more memory does not help ({series}).": (
        "**很可能是 kernel 的 32 位索引**，{cells}：需要在 kernel 中修复的 bug；换显存更大的 GPU 没有帮"
        "助（{series}）。"
    ),
    "**The GPU's architecture**, {cells}: another GPU, or a build that supports this one "
    "({series}).": ("**GPU 架构**，{cells}：需要另一种 GPU，或支持该 GPU 的构建（{series}）。"),
    "Of {cells} the model is not known.": "其中{cells}的模型未知。",
    "Recommendations": "建议",
    "Try {cells} again on this GPU with `gpu_memory_utilization` between {least} and {most}, "
    "each with its own value of the table.": (
        "在该 GPU 上以 {least} 至 {most} 之间的 `gpu_memory_utilization` 重试{cells}，各单元取"
        "表中自己的值。"
    ),
    "Report {cells} ({classes}) upstream with the root-cause line, the GPU and the versions; "
    "until then leave those M out (`exclude` in the matrix).": (
        "将{cells}（{classes}）连同根因行、GPU 和版本上报给上游；在修复之前，从矩阵中排除这些 M"
        "（`exclude`）。"
    ),
    'For a publication use the cells that "Usable for publication" calls usable, and state the '
    "reference of every speed-up.": (
        "发表时请使用“可用数据”一节判定为可用的单元，并注明每个加速比所用的参考后端。"
    ),
    "weights, GiB": "权重，GiB",
    "needed, GiB": "所需，GiB",
    "utilization tried": "已试比例",
    "on this GPU": "在该 GPU 上",
    "smallest known GPU on which it fits": "能容纳的最小已知 GPU",
    "cells that fit": "能容纳的单元",
    "GPUs": "GPU",
    "Do not go above `gpu_memory_utilization` {startable} on this GPU: more was not free when "
    "the engine started.": (
        "在该 GPU 上 `gpu_memory_utilization` 不要高于 {startable}：引擎启动时没有更多空闲显存。"
    ),
    # methods.py
    "**Sparsity.** `2:L` counts zeros: two in every L consecutive weights along K. The "
    "SlideSparse paper counts non-zeros, so its 6:8 is `2:8` here. Weights are pruned or "
    "random; the quality of a model's answers is not measured.": (
        "**稀疏度。** `2:L` 计数的是零：沿 K 方向每 L 个连续权重中有两个为零。SlideSparse 论文"
        "计数的是非零，因此其 6:8 在此为 `2:8`。权重经剪枝或随机生成；未测量模型的回答质量。"
    ),
    "**Retries.** A failed attempt may be repeated with other settings. A number that stands "
    "on such settings carries a mark; attempts are kept, none is overwritten.": (
        "**重试。** 失败的尝试可能会以其他设置重复。基于此类设置的数值带有标记；所有尝试都会保"
        "留，不会被覆盖。"
    ),
    "All metrics are defined in `docs/metrics.md` of slidesparse-bench.": (
        "全部指标的定义见 slidesparse-bench 的 `docs/metrics.md`。"
    ),
    "**The work.** Prompts are random token ids from a recorded seed, decoding is greedy, EOS "
    "is ignored, prefix caching is off, chunked prefill is off where vLLM still allows that.": (
        "**负载。** 提示为由已记录的种子生成的随机 token id，贪心解码，忽略 EOS，关闭 prefix ca"
        "ching；在 vLLM 仍允许的情况下关闭 chunked prefill。"
    ),
    "**The engine** runs inside the worker's own process and all requests of a generate call "
    "are queued before its first step, so every step has the batch that was asked for. "
    "In-process and multi-process engines differ in throughput; compare only like with like.": (
        "**引擎** 运行在工作进程之内，一次 generate 调用的全部请求在第一步之前即已入队，因此每"
        "一步都是所要求的批次。进程内引擎与多进程引擎的吞吐量不同；只能同类相比。"
    ),
    "**The proof.** The scheduler of the engine records the tokens and requests of every step. "
    "A cell with a step that differs from M fails as `m_mismatch`; a cell whose linear layers "
    "run on another kernel than the backend's fails as `wrong_kernel`. Neither yields a number.": (
        "**证明。** 引擎的调度器记录每一步的 token 数和请求数。只要有一步与 M 不同，该单元即以 "
        "`m_mismatch` 失败；若线性层运行在后端之外的 kernel 上，则以 `wrong_kernel` 失败。两者"
        "都不产生数值。"
    ),
    "**Rates.** `tokens_per_second` counts prompt and output tokens, as vLLM's own throughput "
    "benchmark does, over `elapsed_time`, the wall-clock time of the counted steps. Every "
    "series of them follows a lead-in of the same load without a pause. Decode is judged by "
    "`output_tokens_per_second`: the tokens of the pure decode steps over the time of these "
    "steps, the prefill step left out.": (
        "**速率。** `tokens_per_second` 与 vLLM 自带的吞吐量基准相同，为提示 token 与输出 token"
        " 之和除以 `elapsed_time`，即被计数各步的墙钟时间。每一段被计数的步之前都有相同负载的引"
        "入段，中间没有停顿。decode 以 `output_tokens_per_second` 评判：纯解码步的 token 数除以"
        "这些步的时间，不含预填充步。"
    ),
    "**Step times.** A step lasts from the end of the step before it to its own end, on the "
    "host's clock (`time.perf_counter`): the cadence of the engine, host time between two "
    "steps included, not the time of the GPU's kernels alone.": (
        "**单步时间。** 一步从前一步结束到自身结束，以主机时钟（`time.perf_counter`）计：这是引"
        "擎的节拍，包含两步之间的主机时间，而不仅仅是 GPU kernel 的时间。"
    ),
    "**Intervals.** Student's t, widened by the lag-1 autocorrelation of the steps; in decode "
    "the growth of the step time with the KV cache is taken out first. Repeating a cell in a "
    "new process gave differences of 1 to 7 % in the public SlideSparse result trees, so a "
    "speed-up of that size is no finding before it has been repeated (`trials` in the matrix).": (
        "**置信区间。** Student t 区间，按各步的一阶自相关加宽；decode 中先去除单步时间随 KV ca"
        "che 的增长。在公开的 SlideSparse 结果中，同一单元在新进程中重复测量的差异为 1 至 7 %，"
        "因此同等大小的加速比在重复之前不构成结论（矩阵中的 `trials`）。"
    ),
    "**Outliers are kept.** A step further than three interquartile ranges from the quartiles, "
    "its trend over the iteration taken out, is counted and stays in every number; a number of "
    "which more than 1 % of the steps are such carries a mark.": (
        "**保留离群值。** 去除迭代内趋势后，距四分位数超过三倍四分位距的步会被计数，并保留在所"
        "有数值中；若此类步超过 1 %，该数值带有标记。"
    ),
    "**Disturbances.** What the device did while it was measured is sampled ten times a "
    "second. A number is measured again, and marked if that does not help, when another "
    "process computed on the GPU, when heat or a hardware brake lowered its clocks, when the "
    "clock dropped, or when the host's CPU was slow: with small models a step takes as long as "
    "its Python does.": (
        "**干扰。** 测量期间每秒对设备状态采样十次。若另一个进程在 GPU 上计算、过热或硬件制动降"
        "低了频率、频率骤降，或主机 CPU 变慢，则重新测量；若仍无改善则加标记：对于小模型，一步"
        "的时间就是其 Python 代码的时间。"
    ),
    "What one cell runs (the public SlideSparse method, so that numbers compare):": (
        "一个测试单元运行的内容（采用公开的 SlideSparse 方法，以便数值可比）："
    ),
    "{measurements} came from {engines} that cells shared": (
        "{measurements}来自多个单元共用的{engines}"
    ),
    "**Isolation.** {where}. Cells share an engine when theirs would differ in nothing but M "
    "and what follows from it. It is started with the largest limits among them "
    "(`max_model_len`, `max_num_seqs`, `max_num_batched_tokens`) and measures them from the "
    "smallest step to the largest, each with its own `max_num_seqs` and "
    "`max_num_batched_tokens`. Only a failure in a process of its own makes a cell failed; "
    "after one in a shared engine it is tried again alone.": (
        "**隔离。** {where}。若各单元的引擎仅在 M 及其派生量上不同，则共用一个引擎。引擎以其中"
        "最大的限制启动（`max_model_len`、`max_num_seqs`、`max_num_batched_tokens`），从最小的"
        "步到最大的步依次测量，各自使用自己的 `max_num_seqs` 和 `max_num_batched_tokens`。只有"
        "在独立进程中失败才判定单元失败；在共用引擎中失败后会单独重试。"
    ),
    "the seed {seed}": "种子 {seed}",
    "**Trials.** Each cell was measured {n} times, no two times in the same process. Every "
    "trial runs the engines in an order of its own, shuffled by {seed}, so that a drift of the "
    "machine does not favour one backend. Counts, times and energies of the trials add up, "
    "rates are weighted by `elapsed_time`; the interval is Student's over the trials' mean "
    "step times, or that within the trials where it is wider.": (
        "**重复测量。** 每个单元测量 {n} 次，任何两次都不在同一进程中。每一轮按{seed}打乱引擎的"
        "顺序，使机器的漂移不会偏向某个后端。各轮的计数、时间和能量相加，速率按 `elapsed_time` "
        "加权；置信区间取各轮平均单步时间的 Student t 区间，若轮内区间更宽则取轮内区间。"
    ),
    "No batch was padded here.": "此处没有批次被填充。",
    "**CUDA graphs** were captured for batches of {sizes} rows (`cudagraph_capture_sizes` of "
    "`compilation_config`). Unless the matrix says otherwise, those are exactly the batches "
    "that the cells of an engine run; vLLM's own list would pad a batch to the next size on "
    "it. {outcome} Larger batches run without a graph.": (
        "**CUDA graph** 针对 {sizes} 行的批次捕获（`compilation_config` 的 `cudagraph_capture_s"
        "izes`）。除非矩阵另有规定，这些恰好是引擎各单元所运行的批次；vLLM 自带的列表会把批次填"
        "充到其中的下一个大小。{outcome}更大的批次不使用 graph。"
    ),
    "±1 % unless it says otherwise": "±1 %，除非另有规定",
    "**How long.** Unless the matrix says otherwise, warm-up lasts for at least 2 s (a tenth "
    "of that after another cell in the same engine) and until the newest quarter of it is "
    "within 5 % of the quarter before; then at least 1 s is measured, until the 95 % "
    "confidence interval of the mean step time is as narrow as the matrix asks for ({narrow}) "
    "or the limit of iterations is reached.": (
        "**测量时长。** 除非矩阵另有规定，预热至少 2 s（若同一引擎刚测量过其他单元则为其十分之"
        "一），直到最近四分之一与其前四分之一相差不超过 5 %；随后至少测量 1 s，直到平均单步时间"
        "的 95 % 置信区间达到矩阵要求的精度（{narrow}）或迭代次数上限。"
    ),
    "one iteration": "一次迭代",
    "one step of exactly M tokens": "一步，恰好 M 个 token",
    "one prefill step of {prompt_len} x M tokens, then {n} steps of exactly M": (
        "一个 {prompt_len} x M 个 token 的预填充步，随后 {n} 个恰好 M 个 token 的步"
    ),
    "iterations, at most": "迭代次数上限",
    "the same": "同左",
    "max(M, `max_model_len`)": "max(M, `max_model_len`)",
    "max({prompt_len} x M, `max_model_len`)": "max({prompt_len} x M, `max_model_len`)",
    "setting": "参数",
    "Work of a cell": "测试单元的负载",
    "**Emulation.** Where the device has no such kernel, the same arithmetic ran on ordinary "
    "ones. That shows that the results are right; it shows no speed. Such numbers carry "
    "`emulated` and are in no speed-up.": (
        "**模拟。** 设备没有相应 kernel 时，用普通 kernel 完成同样的计算。这能证明结果正确，但"
        "不能说明速度。此类数值标有“模拟”，不计入任何加速比。"
    ),
    "**Isolation.** One attempt, one process: what a cell does cannot touch another, and its "
    "failure is its own.": (
        "**隔离。** 一次尝试一个进程：任何单元都不会影响其他单元，失败只归于自身。"
    ),
    "{shared}, 1 from a process of its own": "{shared}，1 次来自独立进程",
    "**Order.** Each cell was measured once, one after the other in the order of the matrix: "
    "nothing here tells how far two processes differ.": (
        "**顺序。** 每个单元测量一次，按矩阵的顺序依次进行：这里无从得知两个进程之间会相差多少。"
    ),
    "{cells} ran batches that were padded here.": "此处有{cells}运行的批次被填充。",
    "Here that came to {time} and {steps} steps per cell, after a warm-up of about {warm}.": (
        "本次运行中每个单元为 {time}、{steps} 步，之前预热约 {warm}。"
    ),
    "{least} to {most}": "{least} 至 {most}",
    "Methods": "方法",
    "{shared}, {n} from processes of their own": "{shared}，{n} 次来自各自的独立进程",
    "**Order.** Each cell was measured once, engine after engine in the order of the matrix: "
    "nothing here tells how far two processes differ.": (
        "**顺序。** 每个单元测量一次，按矩阵的顺序逐个引擎进行：这里无从得知两个进程之间会相差"
        "多少。"
    ),
    "Here that came to {time} and {steps} steps per cell.": (
        "本次运行中每个单元为 {time}、{steps} 步。"
    ),
    "the seed of the matrix": "矩阵的种子",
    "Notes": "说明",
    "Up to {most} attempts ran at once, each on a device of its own, and shared the CPUs of the "
    "host: {beside} of {numbers} were measured while another attempt ran.": (
        "最多同时运行 {most} 次尝试，各用一个设备，并共用主机的 CPU：{numbers}中有 {beside} 个是在"
        "另一次尝试运行期间测得的。"
    ),
    # model_memory.py
    "Memory of the weights": "权重占用的显存",
    "Memory of the weights, GiB": "权重占用的显存（GiB）",
    "`model_memory_gib`, GiB, weights that are not quantized included.": (
        "`model_memory_gib`，单位 GiB，包含未量化的权重。"
    ),
    "In brackets the difference from {backends}.": "括号内为相对{backends}的差异。",
    "Sliding makes a `2:L` matrix 2(L-2)/L times as long, then 2:4 stores half of it and the "
    "positions of that half: the larger L, the less it saves, and from some L on it costs memory.": (
        "滑动把 `2:L` 矩阵变为原来的 2(L-2)/L 倍长，随后 2:4 只保存其中一半以及这一半的位置：L 越大，"
        "节省越少，超过某个 L 反而占用更多显存。"
    ),
    # moments.py
    "not recorded": "没有记录",
    "{moment} local time": "{moment}（当地时间）",
    # not_run.py
    "Skipped: {cells}": "跳过：{cells}",
    "Reason: {reason}": "原因：{reason}",
    "GiB, as planned": "GiB，按计划",
    "Memory of {cells}": "{cells}的显存需求",
    "Not finished: {cells}": "未完成：{cells}",
    "{title} (plan: {verdict})": "{title}（计划：{verdict}）",
    "no reason on record": "没有原因记录",
    "Reason, for example: {reason}": "原因（举例）：{reason}",
    "weights": "权重",
    "kv_cache": "KV cache",
    "activations": "激活",
    "overhead": "开销",
    "total": "合计",
    "available": "可用",
    "Cells that did not run": "未运行的测试单元",
    # notes.py
    "emulated: the device has no such kernel, and the speed says nothing of it": (
        "模拟：设备没有这种 kernel，其速度不说明任何问题"
    ),
    "measured after the change of sitting {n}: {changes}": ("在会话 {n} 的变更之后测得：{changes}"),
    "disturbed while it was measured: {causes}": "测量时受到干扰：{causes}",
    "the SM clock dropped": "SM 频率骤降",
    "the GPU was throttled: {reasons}": "GPU 降频：{reasons}",
    "no interval: it was measured too few times": "没有置信区间：测量次数过少",
    "it was measured for a shorter time than others: the host's CPU stayed slow": (
        "测量时间比其他单元短：主机 CPU 持续较慢"
    ),
    "its step times had not settled when the warm-up was over": "预热结束时其步耗时尚未稳定",
    "a slow CPU of the host may have made its steps longer, and measuring again did not help": (
        "主机 CPU 较慢，可能使其步变长，重新测量也没有改善"
    ),
    "the host's CPU was slow, and whether that made its steps longer is not on record": (
        "主机 CPU 较慢，是否使其步变长没有记录"
    ),
    "host-bound: the host hardly ever waited for the device, so faster GEMMs would hardly make the "
    "step shorter": ("受主机限制：主机几乎从不等待设备，因此更快的 GEMM 几乎不会缩短该步"),
    "the interval is wider than asked for{asked}": "置信区间宽于要求{asked}",
    "more than {share} of its steps are outliers; they are kept": (
        "超过 {share} 的步是离群值；均予保留"
    ),
    "its trials were measured before and after a change of the machine or the software": (
        "其各轮测量分别在机器或软件变更之前和之后进行"
    ),
    "disturbed while it was measured, and measuring again did not help: {causes}": (
        "测量时受到干扰，重新测量也没有改善：{causes}"
    ),
    "no interval: its steps were not timed one by one": "没有置信区间：其各步没有逐一计时",
    "the interval is wider than asked for{asked}: the trials differ by more than the steps "
    "within one": ("置信区间宽于要求{asked}：各轮之间的差异大于轮内各步之间的差异"),
    "the M that ran is not on record": "没有记录实际运行的 M",
    # overview.py
    "All {cells} passed.": "全部{cells}均通过。",
    "not planned": "未计划",
    "Passed of planned cells, by phase and backend:": "按阶段和后端，通过数/计划数：",
    "Completeness, {stage}": "各阶段完成度：{stage}",
    "Passed at every M: {series}": "完全成功（所有 M 均通过）：{series}",
    "Passed at some M: {series}": "部分失败（部分 M 通过）：{series}",
    "Passed at no M: {series}": "完全失败（没有 M 通过）：{series}",
    "Passed cells of planned cells. `2:L` means two zeros in every L weights.": (
        "通过数/计划数。`2:L` 表示每 L 个权重中有两个为零。"
    ),
    "Cells by phase": "按阶段统计的测试单元",
    "stage": "阶段",
    "backends": "后端",
    "Which M passed": "各 M 的通过情况",
    "Overview": "整体测试概览",
    "all": "合计",
    "Phase by backend": "阶段与后端",
    "No cell of this run has an id of this version.": "本次运行没有符合本版本格式的单元 id。",
    "M without a number, and why": "没有数值的 M 及原因",
    "passed share": "通过率",
    "M passed": "成功的 M",
    "M without a number": "失败的 M",
    "why": "失败原因",
    # performance.py
    "A rate is followed by half of its 95 % confidence interval, then by the number of "
    "attempts where there were more of them than trials. In place of a missing number stands "
    "the reason. Marks such as [1] point at the notes under the tables. A speed-up is a "
    "quotient of two rates of the same row; its ± combines the intervals of both, `~` marks "
    "one whose interval contains 1: no difference was found, and `?` one of whose rates "
    "Anomalies doubts. Means leave those out, and speed-ups that are wider than ±{width} or have a "
    "host-bound side. `same kernel` marks a ratio of two cells that ran the same kernel class: it "
    "shows how far two processes differ, not two backends.": (
        "速率之后是其 95 % 置信区间的半宽；若尝试次数多于测量轮数，则再附上尝试次数。缺少数值处"
        "给出原因。[1] 之类的标记指向表下的注释。加速比是同一行中两个速率之商；其 ± 合并了两者"
        "的区间，`~` 表示区间包含 1：未发现差异；`?` 表示两个速率之一在“异常数据”中存疑。均值不计"
        "入这些加速比，也不计入宽于 ±{width} 或有一方受主机限制的加速比。`同一 kernel` 表示两个单元运行的是同一 kernel 类：它反映的是两个进程之间的差"
        "异，而不是两个后端之间的差异。"
    ),
    "The intervals describe the scatter within one attempt; two attempts at the same cell "
    "differ by more (see Methods).": (
        "置信区间描述的是一次尝试之内的离散程度；同一单元的两次尝试相差更大（见“方法”）。"
    ),
    "The tool that measured these numbers timed no steps, so no number here has an interval.": (
        "测得这些数值的工具没有对各步计时，因此这里的数值都没有置信区间。"
    ),
    "Every number stands on {trials} trials, each in another process; its interval is the "
    "wider one of that between the trials and that within them.": (
        "每个数值基于 {trials} 轮测量，各在不同进程中；其区间取轮间区间与轮内区间中较宽者。"
    ),
    "Throughput of {group}, tokens per second": "{group} 的吞吐量，tokens/s",
    "`tokens_per_second`, prompt and output together:": "`tokens_per_second`，提示与输出合计：",
    "Speed-up of {group}": "{group} 的加速比",
    "Speed-up over {name} (the reference) / over the best dense backend at that M; ± is the "
    "wider one of the two:": (
        "相对 {name}（参考）/ 相对该 M 下最佳稠密后端的加速比；± 取两者中较宽者："
    ),
    "{best} (without {missing})": "{best}（缺 {missing}）",
    "Nothing to compare: {names} have no M in common with {reference}.": (
        "无法比较：{names} 与 {reference} 没有共同的 M。"
    ),
    "`output_tokens_per_second`, over the pure decode steps:": (
        "`output_tokens_per_second`，仅计纯解码步："
    ),
    "`tokens_per_second`, prompt and output together, because not every result here has the "
    "rate of the pure decode steps:": (
        "`tokens_per_second`，提示与输出合计（因为并非每个结果都有纯解码步的速率）："
    ),
    "Speed-up over {name}, the only dense backend with numbers here:": (
        "相对 {name} 的加速比（这里唯一有数值的稠密后端）："
    ),
    "Speed-up over {name} (the reference) / over the best dense backend at that M:": (
        "相对 {name}（参考）/ 相对该 M 下最佳稠密后端的加速比："
    ),
    "none has a number": "均无数值",
    "emulated: no speed-up": "模拟：无加速比",
    "nothing to compare with": "没有可比对象",
    " (no interval)": "（无置信区间）",
    "Nothing to compare: no cell of this group has a number.": (
        "无法比较：该组没有任何测试单元有数值。"
    ),
    "Nothing to compare with: {names} ran, but no dense backend has a number here.": (
        "没有可比对象：{names} 已运行，但这里没有稠密后端有数值。"
    ),
    "Nothing to compare: {names} is the only backend with numbers here ({others} planned, none "
    "has a number).": ("无法比较：这里只有 {names} 有数值（计划中还有{others}，均无数值）。"),
    "Nothing to compare: {names} is the only backend with numbers here.": (
        "无法比较：这里只有 {names} 有数值。"
    ),
    "Throughput and speed-up": "吞吐量与加速比",
    "True of every number of this run, and so not marked:": (
        "以下对本次运行的每个数值都成立，因此不再逐一标记："
    ),
    "{group}: rates over M": "{group}：速率随 M 的变化",
    "{rate} (no interval)": "{rate}（无置信区间）",
    ", emulated": "，模拟",
    "{backend} (reference)": "{backend}（参考）",
    "best": "最佳",
    "No cell can be shown by M.": "没有测试单元可以按 M 展示。",
    "There are no plots: {reason}.": "没有图：{reason}。",
    "best dense": "最佳稠密后端",
    ", same kernel": "，同一 kernel",
    # plots.py
    "not finished": "未完成",
    "The labels of the plots are in English: matplotlib finds no font with the characters of "
    "this language (`fonts-noto-cjk` is one).": (
        "图中文字为英文：matplotlib 没有找到含有中文字形的字体（例如 `fonts-noto-cjk`）。"
    ),
    # publication.py
    "Usable: the cell passed, every measured step had the M that was asked for, the kernel is "
    "on record, the interval is known and within ±{width}, and its rate is in line under "
    "Anomalies. With a reservation: it has a number, and one of the proofs or the interval is "
    "missing, attempts at it contradict each other, or the host set the time of its steps. Not "
    "usable: it has no number, or one that is emulated, disturbed, out of line or a suspect "
    "pass.": (
        "可用：单元通过，每个被测步的 M 都与要求一致，kernel 有记录，置信区间已知且不超过 ±{wi"
        "dth}，且其速率在“异常数据”中没有问题。有保留：有数值，但缺少其中一项证明或置信区间，"
        "多次尝试自相矛盾，或其步耗时由主机决定。不可用：没有数值，或数值为模拟、受干扰、与相邻点不符或属可疑通过。"
    ),
    "host-bound: a faster host would change it, a faster GEMM hardly": (
        "受主机限制：更快的主机会改变它，更快的 GEMM 几乎不会"
    ),
    "a slow CPU of the host may have made its steps longer": "主机 CPU 较慢，可能使其步变长",
    "no number: failed": "没有数值：失败",
    "no number: skipped": "没有数值：跳过",
    "no number: not finished": "没有数值：未完成",
    "Usable numbers": "可用的数值",
    "Usable for publication": "可用数据",
    "Why numbers carry a reservation:": "数值有保留的原因：",
    "Why numbers are not usable:": "数值不可用的原因：",
    "the fake engine measured nothing": "fake 引擎没有测量任何东西",
    "emulated kernels": "模拟 kernel",
    "out of line, disturbed or suspect: see Anomalies": (
        "与相邻点不符、受干扰或可疑：见“异常数据”"
    ),
    "M is not proven": "M 未经证实",
    "the kernel is not on record": "没有记录 kernel",
    "no interval": "没有置信区间",
    "repeated, with rates more than {share} apart": "重复测量，各次速率相差超过 {share}",
    "interval wider than ±{width}": "置信区间宽于 ±{width}",
    "usable": "可用",
    "with a reservation": "有保留",
    "not usable": "不可用",
    "M at which no planned cell is unusable": "所有计划单元都不是“不可用”的 M",
    # setup.py
    "finished": "已结束",
    "What ran and on what": "运行内容与环境",
    "Sittings": "会话",
    "{what} (sitting {numbers})": "{what}（会话 {numbers}）",
    "none; the fake engine computes nothing": "无；fake 引擎不做任何计算",
    "no GPU (NVML: {why}); vLLM ran on the CPU": "没有 GPU（NVML：{why}）；vLLM 运行在 CPU 上",
    "GPU of unknown name": "名称未知的 GPU",
    "power limit": "功耗上限",
    "application SM clock": "应用 SM 频率",
    "highest SM clock": "最高 SM 频率",
    "persistence mode": "持久模式",
    "commit {commit}": "提交 {commit}",
    "modules with SHA-256 {code}": "各模块 SHA-256 为 {code}",
    "The imported cells, as a matrix: `{folder}/matrix.yaml`.": (
        "所导入的测试单元的矩阵形式：`{folder}/matrix.yaml`。"
    ),
    "The matrix, as it was run": "所运行的测试矩阵",
    "GPU settings": "GPU 设置",
    "run": "运行",
    "started": "开始时间",
    "last event": "最后事件",
    "devices": "设备",
    "driver": "驱动",
    "host": "主机",
    "versions": "版本",
    "seed": "种子",
    "platform": "平台",
    "source": "源代码",
    "command": "命令",
    "matrix SHA-256": "矩阵 SHA-256",
    "imported from": "导入来源",
    "imported by": "导入工具",
    "no GPU; vLLM ran on the CPU": "没有 GPU；vLLM 运行在 CPU 上",
    "compute capability {capability}": "计算能力 {capability}",
    "{n} cores": "{n} 核",
    "{amount} GiB of memory": "{amount} GiB 内存",
    "{switch} on": "{switch} 开",
    "{switch} off": "{switch} 关",
    "{n} more under Engines": "其余 {n} 项见“引擎”",
    "modified": "有改动",
    "not modified": "无改动",
    "nothing": "无",
    "{n} commands worked on this run:": "{n} 条命令参与了本次运行：",
    "The matrix is not on record.": "测试矩阵没有记录。",
    "What": "项目",
    "Value": "内容",
    "Not on record: {names}.": "没有记录：{names}。",
    "began": "开始时间",
    "changed since the one before": "与前一会话相比的变化",
    # step_parts.py
    "Where the device spends a step": "一步中设备的时间去向",
    "Device time of one iteration in ms, from iterations that ran under a profiler after the "
    "measurement (`profile_iterations`), by the names of its kernels; `kernels.json` beside the result "
    "has them all. A kernel that does several things counts whole: those that Inductor fuses as other "
    "kernels (`in other`: quantization is among them), SiLU with the quantization behind it as "
    "quantization. So compare backends by the sum of these two columns. Writing the KV cache is among "
    "the other kernels.": (
        "一次迭代的设备时间（ms），取自测量结束后在性能分析器下运行的迭代（`profile_iterations`），"
        "按内核名称划分；结果旁的 `kernels.json` 列出了全部内核。兼做几件事的内核整体计入一列：Inductor "
        "融合的计入其他内核（`计入其他`：量化也在其中），SiLU 与其后量化合一的计入量化。因此后端之间"
        "应比较这两列之和。写入 KV cache 计入其他内核。"
    ),
    "`step` is the measured median of a prefill step without a profiler. Its difference from `kernels` "
    "cannot be put down to the host alone: the profiled iterations follow a pause, and a device at its "
    "power limit is faster for about a second after one, an H200 by up to 3 % (`docs/metrics.md`, "
    "Kernels).": (
        "`步` 是不带分析器时测得的 prefill 步时间中位数。它与`全部内核`之差不能只归于主机：被分析的"
        "迭代紧接在一次停顿之后，而处于功耗上限的设备在停顿后约一秒内更快，H200 最多快 3 %"
        "（`docs/metrics.md`，Kernels）。"
    ),
    "Conditions differ from cell to cell, too: attention is the same work of the same kernels in cells "
    "of one model, stage and M, and yet its time differs by up to {spread}.": (
        "各单元的条件也不相同：在模型、阶段与 M 相同的单元中，注意力是相同内核的相同计算，其时间却相差"
        "最多 {spread}。"
    ),
    "in other": "计入其他",
    "{time}, rest in other": "{time}，其余计入其他",
    "step": "步",
    "kernels": "全部内核",
    "products of the layers": "各层的矩阵乘",
    "attention": "注意力",
    "other kernels": "其他内核",
    # summary.py
    "**Imported results.** Another tool measured these numbers (`{format}`, `{source}`); "
    "slidesparse-bench has read its files, classified its failures again from its logs and run "
    "nothing itself. What nobody recorded is listed under Methods.": (
        "**导入的结果。** 这些数值由其他工具测得（`{format}`，`{source}`）；slidesparse-bench "
        "读取了其文件，根据日志重新对失败分类，自身没有运行任何测试。无人记录的内容列于“方法”"
        "一节。"
    ),
    "**The machine or the software changed while this run was made** ({told}). {later} of "
    "{numbers} were measured afterwards and are marked: do not compare them with the others, "
    "or measure all of them again (`slidesparse run --fresh`).": (
        "**运行期间机器或软件发生了变化**（{told}）。{numbers}中有 {later} 个在此之后测得，并已"
        "标记：请勿与其他数值比较，或将全部数值重新测量（`slidesparse run --fresh`）。"
    ),
    "**{passed} of {cells} passed** ({share}), {failed} failed, {skipped} skipped with a "
    "stated reason": (
        "**{cells}中有 {passed} 个通过**（{share}），{failed} 个失败，{skipped} 个跳过（均注明"
        "原因）"
    ),
    "{attempts} in {processes} from {began} to {ended}": (
        "{began} 至 {ended}，{attempts}，{processes}"
    ),
    "Sparse backends against the best dense backend of the same cell: {comparisons}, from "
    "{least}x to {most}x, median {median}x. The largest is {group}, M = {m}: {backend} runs at "
    "{ratio}x of {dense}{marks}. Left out are cells at which a dense backend failed, did not "
    "finish or was not planned: it might be the best one.": (
        "稀疏后端相对同一单元的最佳稠密后端：{comparisons}，从 {least}x 到 {most}x，中位数 {med"
        "ian}x。最大值为 {group}，M = {m}：{backend} 达到 {dense} 的 {ratio} 倍{marks}。稠密后"
        "端失败、未完成或未计划的单元不计在内：缺少的那个可能正是最佳者。"
    ),
    "In {count} of these comparisons the host, not the GPU, set the time of the steps on one side "
    "(host-bound).": ("其中 {count} 个比较有一方受主机限制：决定其步耗时的是主机，而不是 GPU。"),
    "In {count} of these comparisons the two sides were measured before and after a change of the "
    "machine or the software.": "其中 {count} 个比较的两方分别在机器或软件变更之前和之后测得。",
    "In {count} others it is not on record how long the host waited.": (
        "另有 {count} 个比较没有记录主机等待了多久。"
    ),
    "Without these there are {comparisons}, from {least}x to {most}x, median {median}x.": (
        "除此之外有{comparisons}，从 {least}x 到 {most}x，中位数 {median}x。"
    ),
    "{outcome}, {waiting} not finished.": "{outcome}，{waiting} 个未完成。",
    "{span} over {time}": "{span}，历时 {time}",
    "The device is not on record.": "设备没有记录。",
    "Device: {devices}.": "设备：{devices}。",
    "other reasons, see the sections below": "其他原因，见下文各节",
    "failed with `{failure_class}` ({meaning})": "因 `{failure_class}` 失败（{meaning}）",
    "skipped as `{verdict}` ({meaning})": "因 `{verdict}` 跳过（{meaning}）",
    "SlideSparse benchmark {run}": "SlideSparse 基准测试 {run}",
    "Summary": "摘要",
    "**NO NUMBER IN THIS REPORT IS A MEASUREMENT.** The run used `engine: fake`, which "
    "computes nothing; it shows that the harness works.": (
        "**本报告中没有任何数值是测量结果。** 本次运行使用了 `engine: fake`，它不做任何计算，只"
        "用来验证测试框架可以工作。"
    ),
    "**CPU run.** vLLM ran without a GPU, on emulated or CPU kernels. Its numbers say nothing "
    "about sparse tensor cores and compare with no GPU run.": (
        "**CPU 运行。** vLLM 在没有 GPU 的情况下运行于模拟 kernel 或 CPU kernel。其数值不反映稀"
        "疏 tensor core 的性能，也不能与任何 GPU 运行相比。"
    ),
    "**`environment.json` is missing**: nothing here says what the numbers ran on.": (
        "**缺少 `environment.json`**：无从得知这些数值是在什么环境上测得的。"
    ),
    "**This run was interrupted.** The report shows what is on record so far.": (
        "**本次运行被中断。** 报告展示的是截至目前的记录。"
    ),
    "Sparse kernels were emulated here, so this run says nothing of their speed: its tables "
    "have no speed-up of them.": (
        "此处的稀疏 kernel 为模拟，因此本次运行不反映其速度：各表中没有它们的加速比。"
    ),
    "No sparse backend can be compared with a dense one: see the tables below for why.": (
        "没有稀疏后端可以与稠密后端比较：原因见下文各表。"
    ),
    "{comparisons} more are left out because one of their two rates is out of line (see "
    "Anomalies); they reach from {least}x to {most}x.": (
        "另有{comparisons}因两个速率之一与相邻点不符而未计入（见“异常数据”）；其范围为 {least}"
        "x 至 {most}x。"
    ),
    "Why cells have no number:": "没有数值的原因：",
    "In {cells} of {known} Python on the CPU, not the GPU, set the time of the steps (host-bound). A "
    "larger M helps, or an idle host.": (
        "{known}中有 {cells} 个受主机限制：决定其步耗时的是 CPU 上的 Python，而不是 GPU。更大的 M 或空闲的"
        "主机会有帮助。"
    ),
    "{cells} of those ran without a CUDA graph of their M: ask for one (`cudagraph_capture_sizes` of "
    "the `compilation_config` in `engine_args`).": (
        "其中 {cells} 个运行时没有对应其 M 的 CUDA graph：可在 `engine_args` 的 `compilation_config` 中"
        "用 `cudagraph_capture_sizes` 要求录制。"
    ),
    "{cells} did not finish: `slidesparse run {matrix}` resumes this run.": (
        "{cells}未完成：`slidesparse run {matrix}` 可继续本次运行。"
    ),
    "{cells} did not fit by the plan's estimate: `infeasible: try` in the matrix starts such "
    "cells all the same.": (
        "按计划估算，{cells}放不下：在矩阵中设置 `infeasible: try` 可强制启动这些单元。"
    ),
    "{cells} failed in a way that another attempt may mend: `slidesparse retry {run} --failed`.": (
        "{cells}的失败可能通过再次尝试解决：`slidesparse retry {run} --failed`。"
    ),
    "`slidesparse run {folder}/matrix.yaml` measures the same cells here, with a proof of M "
    "and kernel and with intervals; `slidesparse compare` then shows both side by side.": (
        "`slidesparse run {folder}/matrix.yaml` 会在本机测量同样的单元，并给出 M 与 kernel 的证"
        "明及置信区间；随后可用 `slidesparse compare` 并排比较。"
    ),
    "**This run has not finished.** The report shows what is on record so far.": (
        "**本次运行尚未结束。** 报告展示的是截至目前的记录。"
    ),
    "What to do next:": "下一步：",
    # time_account.py
    "{processes}: {engines} that cells shared ({attempts})": (
        "{processes}：多个单元共用的{engines}（{attempts}）"
    ),
    "time in attempts": "尝试所用时间",
    "{shared}, {own} for one attempt each": "{shared}，另有 {own} 个各用于一次尝试",
    "Wall-clock time from the first to the last event: {time}.": (
        "从第一个事件到最后一个事件的墙钟时间：{time}。"
    ),
    "The plan had estimated {time}.": "计划估计为 {time}。",
    "{attempts} recorded no duration and count as 0.": "{attempts}没有记录时长，按 0 计。",
    "Time": "时间",
    "No attempt recorded its duration.": "没有任何尝试记录时长。",
    "measurement (the generate calls that count)": "测量（被计数的 generate 调用）",
    "start-up of their processes, until the engine was ready": "其进程的启动，直到引擎就绪",
    "other attempts: failed, or their number does not count": "其他尝试：失败，或其数值不计入",
    "all attempts": "全部尝试",
    "The timestamps of the run do not tell its wall-clock time.": "运行的时间戳无法给出墙钟时间。",
    "An attempt was running for {busy} of it; what happened in the other {rest} is not on "
    "record.": ("其中 {busy} 有尝试在运行；其余 {rest} 的情况没有记录。"),
    "An attempt was running for {busy} of it; the other {rest} went into planning, waiting for "
    "device memory, clean-up between attempts, and pauses of the run.": (
        "其中 {busy} 有尝试在运行；其余 {rest} 用于制定计划、等待显存、尝试之间的清理，以及运行"
        "的暂停。"
    ),
    "On average {n} attempts ran at once.": "平均同时运行 {n} 次尝试。",
    "No attempt is on record.": "没有尝试记录。",
    "the rest of these attempts: start-up, warm-up, shut-down": (
        "这些尝试的其余部分：启动、预热、退出"
    ),
    "the rest of these attempts: warm-up, proof, shut-down": (
        "这些尝试的其余部分：预热、证明、退出"
    ),
    "{attempts} in {processes}.": "{attempts}，{processes}。",
    "sum": "合计",
    "share": "占比",
    "Of {rounds} of measurement in {attempts} a part or all did not count and was run again, because "
    "the host's CPU was slow; its time is not in the row of the measurement.": (
        "因主机 CPU 变慢，{attempts}中有{rounds}测量的部分或全部不计入并重新进行；其时间不在“测量”一行中。"
    ),
    "{engines} more stopped with their command before their first cell: no attempt stands for "
    "them, and their time is in no row.": (
        "另有{engines}在第一个单元之前随其命令一起停止：没有尝试与之对应，其时间不在任何一行中。"
    ),
    # trials.py
    "The rate of each trial. Spread: the largest minus the smallest, over their mean. Within: "
    "the widest interval that a single trial would have claimed. Where the trials differ by "
    "more than that, `trials` stands in the last column, and the interval in the table above "
    "is the wider one between them.": (
        "每一轮的速率。差幅：最大值减最小值，除以均值。轮内：单独一轮所给出的最宽区间。若各轮之"
        "差超过该区间，则最后一列为“轮间”，上表采用较宽的轮间区间。"
    ),
    "Trials of {cells}": "{cells}的各轮测量",
    "not known": "未知",
    "interval by": "区间依据",
    "trials": "轮间",
    "steps": "各步",
    "spread": "差幅",
    "within": "轮内",
    "trial {n}": "第 {n} 轮",
    # Patterns of several files, for their punctuation.
    "{kernel} ({n})": "{kernel}（{n}）",
    "{device} ({n})": "{device}（{n}）",
    "{sentence}.": "{sentence}。",
    "{name} ({facts})": "{name}（{facts}）",
    "{outcome} ({settings})": "{outcome}（{settings}）",
    "{ending} ({cells})": "{ending}（{cells}）",
    "{rates} ({source})": "{rates}（{source}）",
    "{share} ({backend}, M = {m})": "{share}（{backend}，M = {m}）",
    "{verdict}, {meaning}": "{verdict}，{meaning}",
    "{outcome}, {ending}": "{outcome}，{ending}",
    "{ending}, {how}": "{ending}，{how}",
    "{rate}, {attempts}": "{rate}，{attempts}",
    "{name}: {cells}": "{name}：{cells}",
    "{cells}: {reason}": "{cells}：{reason}",
    "M = {m}: {conditions}": "M = {m}：{conditions}",
    "M = {ms}: {reason}": "M = {ms}：{reason}",
    "{moment}: {what}": "{moment}：{what}",
    "{series}: {what}": "{series}：{what}",
    "{gpu}: {settings}": "{gpu}：{settings}",
    "{title}: {n}": "{title}：{n}",
    "`{failure_class}` ({cells}): {advice}": "`{failure_class}`（{cells}）：{advice}",
    "{backend} ({n} M)": "{backend}（{n} 个 M）",
}
