"""Every sentence of the ENA drivers about their clock, by the release of amzn/amzn-drivers that has it first."""

import pytest

from harness.errors import ParseError
from harness.model import DriverWord, ReadFailure
from harness.probes import kernel_log, module_options

ENA = "[  313.956605] ena 0000:00:05.0 eth1: "

STARTS = [
    ("2.8.0", "PHC feature is not supported", DriverWord.NOT_SUPPORTED_BY_DEVICE),
    ("2.8.0", "PHC is enabled", DriverWord.ACTIVE),
    ("2.8.0", "Failed to get PHC feature configuration, error: -95", DriverWord.REFUSED_BY_DEVICE),
    ("2.8.0", "Unsupprted PHC type, error: -95", DriverWord.VERSION_UNKNOWN),
    ("2.8.0", "Failed setting PHC output address, error: -22", DriverWord.NO_MEMORY),
    ("2.8.0", "Failed to enable PHC, error: -62", DriverWord.REFUSED_BY_DEVICE),
    ("2.8.0", "Failed to alloc phc_info, error: -12", DriverWord.NO_MEMORY),
    ("2.8.0", "Failed registering ptp clock, error: -12", DriverWord.NOT_REGISTERED),
    ("2.8.0", "Failed to init phc, error: -12", DriverWord.NO_MEMORY),
    ("2.8.0", "Failed to config phc, error: -95", DriverWord.START_FAILED),
    ("2.8.0", "Failed to register phc, error: -12", DriverWord.START_FAILED),
    ("2.8.0", "Failed initiating PHC, error: -12", DriverWord.START_FAILED),
    ("2.8.3", "PHC is active in the device", DriverWord.ACTIVE),
    ("2.8.3", "PHC feature is not supported by the device", DriverWord.NOT_SUPPORTED_BY_DEVICE),
    ("2.8.3", "PHC feature is not enabled by the kernel", DriverWord.NOT_ENABLED),
    ("2.8.3", "phc_info is not allocated", DriverWord.NO_MEMORY),
    ("2.8.3", "Failed to alloc phc_info", DriverWord.NO_MEMORY),
    ("2.8.3", "ena_phc_alloc failed", DriverWord.START_FAILED),
    ("2.8.3", "Failed to query PHC param", DriverWord.NOT_ENABLED),
    ("2.10.0", "Unsupprted PHC version (0x1), error: -95", DriverWord.VERSION_UNKNOWN),
    ("2.13.0", "Unsupported PHC version (0x1), error: -95", DriverWord.VERSION_UNKNOWN),
    ("2.16.0", "Failed initializing PHC, error: -12", DriverWord.START_FAILED),
]


@pytest.mark.parametrize(("release", "sentence", "word"), STARTS)
def test_every_sentence_about_a_start(release: str, sentence: str, word: DriverWord) -> None:
    assert kernel_log.find_last_word([ENA + sentence, "other"]) == (word, ENA + sentence), release


@pytest.mark.parametrize(
    ("sentences", "number"),
    [
        (["Unsupported PHC version (0x1), error: -95", "Failed to config phc, error: -95"], 0),
        (["Failed registering ptp clock, error: -12", "Failed to register phc, error: -12"], 0),
        (["PHC is active in the device", "Failed to register phc, error: -12"], 1),
        (["Failed to enable PHC, error: -62", "Failed to config phc, error: -62", "PHC is active in the device"], 2),
    ],
)  # fmt: skip
def test_a_summary_does_not_displace_the_cause(sentences: list[str], number: int) -> None:
    last = kernel_log.find_last_word([ENA + sentence for sentence in sentences])
    assert last is not None
    assert last[1] == ENA + sentences[number]


@pytest.mark.parametrize(
    ("sentence", "failure"),
    [
        ("PHC feature is not enabled", ReadFailure.NOT_ACTIVE),  # 2.8.0 to 2.8.2
        ("PHC feature is not active in the device", ReadFailure.NOT_ACTIVE),
        ("PHC get time request 0x2f failed (device error)", ReadFailure.NO_ANSWER),
        ("PHC get time request 0x2f failed (error 0x1)", ReadFailure.TIMESTAMP),
        ("PHC get time request 0x2f failed (error 0x2)", ReadFailure.ERROR_BOUND),
        ("PHC get time request 0x2f failed (error 0x3)", ReadFailure.TIMESTAMP),
    ],
)
def test_every_sentence_about_a_reading(sentence: str, failure: ReadFailure) -> None:
    assert kernel_log.find_read_failure([ENA + sentence, "other"]) == (failure, ENA + sentence)
    assert kernel_log.find_last_word([ENA + sentence]) is None


def test_that_a_clock_is_off_is_no_failed_reading() -> None:
    assert kernel_log.find_read_failure([f"{ENA}PHC feature is not enabled by the kernel"]) is None


def test_the_kernel_names_a_parameter_that_is_none() -> None:
    log = ["[   77.6] ena: unknown parameter 'enable_phc' ignored", "[ 77.7] other: unknown parameter 'x' ignored"]
    assert kernel_log.find_unknown_parameters(log) == ("enable_phc",)


def test_settings_of_the_module() -> None:
    text = (
        "/etc/modprobe.d/ena.conf: options ena enable_phc=1 lpc_size=2\n"
        "/proc/cmdline: ena.phc_enable=1\n/proc/cmdline: ena.phc_enable\n/proc/cmdline: ena.=\n"
    )
    assert [(option.file, option.name, option.value) for option in module_options.parse(text, "m")] == [
        ("/etc/modprobe.d/ena.conf", "enable_phc", "1"),
        ("/etc/modprobe.d/ena.conf", "lpc_size", "2"),
        ("/proc/cmdline", "phc_enable", "1"),
        ("/proc/cmdline", "phc_enable", ""),
    ]
    assert module_options.parse("", "m") == ()
    with pytest.raises(ParseError):
        module_options.parse("options ena enable_phc=1\n", "m")
