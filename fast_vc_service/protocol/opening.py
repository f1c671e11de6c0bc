"""How a session is opened: what a client asks for, and what the server answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fast_vc_service.protocol.limits import (
    ANNOUNCED_PACKET_MS,
    BIT_DEPTHS,
    BITRATES,
    DEFAULT_RATE_HZ,
    INT64,
    MAX_PITCH_SHIFT,
    OPUS_PACKET_MS,
    SOURCE_F0_HZ,
    Encoding,
)
from fast_vc_service.protocol.members import Asked, Told
from fast_vc_service.protocol.values import (
    COUNT,
    MILLISECONDS,
    NAME,
    NUMBER,
    TEXT,
    TRUTH,
    VOICE,
    Choice,
    EncodingName,
    Flag,
    Key,
    Number,
    Rate,
    Whole,
)
from fast_vc_service.protocol.voice_choice import VoiceChoice
from fast_vc_service.protocol.words import Words

PITCH_SHIFT = Number(-MAX_PITCH_SHIFT, MAX_PITCH_SHIFT, default=0.0)
_RATE_IN = Rate("encoding", DEFAULT_RATE_HZ)
_RATE_OUT = Rate("encoding_out", DEFAULT_RATE_HZ)
_ENCODING = EncodingName()
_BIT_DEPTH = Choice(BIT_DEPTHS, 16, "convert the samples before sending")
_CHANNELS = Choice((1,), 1, "mix down to mono before sending")
_PACKET_MS = Number(*ANNOUNCED_PACKET_MS, default=OPUS_PACKET_MS)
_BITRATE = Whole(*BITRATES, default=32_000)
_SEED = Whole(*INT64, default=0)
_SOURCE_F0_HZ = Number(*SOURCE_F0_HZ, default=None)


@dataclass(frozen=True, slots=True)
class Start:
    """The first message of a session, once checked: ``config``, or the simple ``start``."""

    session_id: Annotated[
        str | None,
        Asked(
            NAME,
            Words(
                "1 to {longest} characters, no control characters; echoed unchanged. It need not "
                "be unique",
                "1 到 {longest} 个字符，不含控制字符；原样返回。不要求唯一",
            ),
            otherwise=Words("made by the server", "由服务器生成"),
            simple="stream_id",
            example="call-4711",
        ),
    ] = None
    api_key: Annotated[
        str | None,
        Asked(
            Key(),
            Words(
                "the key, if the server has keys; or send the header `Authorization: Bearer KEY`",
                "服务器设有密钥时的密钥；也可以使用请求头 `Authorization: Bearer KEY`",
            ),
            simple="api_key",
            example="a-long-secret-of-your-own",
        ),
    ] = None
    sample_rate: Annotated[
        int,
        Asked(
            _RATE_IN,
            Words(
                "Hz of the input. PCM: any whole number from {low} to {high}. Opus: {allowed}. "
                "G.711: {telephone}, also when it is left out",
                "输入采样率（Hz）。PCM：{low} 到 {high} 的任意整数。Opus：{allowed}。"
                "G.711：{telephone}，省略时亦然",
            ),
            simple="sample_rate",
            example=24_000,
            clients=("python",),
        ),
    ] = _RATE_IN.default
    bit_depth: Annotated[
        int,
        Asked(
            _BIT_DEPTH,
            Words(
                "PCM input: {allowed}, signed little-endian",
                "PCM 输入：{allowed} 位有符号小端",
            ),
            simple="sample_bit",
            clients=(),
        ),
    ] = _BIT_DEPTH.default
    channels: Annotated[
        int,
        Asked(_CHANNELS, Words("{allowed} only", "只能为 {allowed}"), clients=()),
    ] = _CHANNELS.default
    encoding: Annotated[
        Encoding,
        Asked(
            _ENCODING,
            Words(
                '`"PCM"`, `"OPUS"`, or of telephone lines `"MULAW"` or `"ALAW"` (G.711, a byte a '
                "sample), upper or lower case",
                '`"PCM"`、`"OPUS"`，或电话线路的 `"MULAW"`、`"ALAW"`（G.711，每样本一字节），'
                "大小写均可",
            ),
            simple="encoding",
            clients=("python",),
        ),
    ] = _ENCODING.default
    opus_frame_duration: Annotated[
        float,
        Asked(
            _PACKET_MS,
            Words(
                "ms a packet; a hint, each packet's own header decides",
                "每包毫秒数；仅为提示，以每个包自身的包头为准",
            ),
            simple="opus_frame_duration",
            clients=("python",),
        ),
    ] = _PACKET_MS.default
    sample_rate_out: Annotated[
        int,
        Asked(
            _RATE_OUT,
            Words(
                "Hz of the output; the same rates as `sample_rate`, by `encoding_out`",
                "输出采样率（Hz）；取值与 `sample_rate` 相同，由 `encoding_out` 决定",
            ),
            simple="sample_rate_out",
            example=24_000,
            clients=("python",),
        ),
    ] = _RATE_OUT.default
    encoding_out: Annotated[
        Encoding,
        Asked(
            _ENCODING,
            Words(
                f'`"PCM"` (16-bit little-endian mono), `"OPUS"` (packets of {OPUS_PACKET_MS} ms, '
                'one a message), `"MULAW"` or `"ALAW"`',
                f'`"PCM"`（16 位小端单声道）、`"OPUS"`（每包 {OPUS_PACKET_MS} ms，每条消息一包）、'
                '`"MULAW"` 或 `"ALAW"`',
            ),
            simple="encoding_out",
            clients=("python",),
        ),
    ] = _ENCODING.default
    bitrate_out: Annotated[
        int,
        Asked(
            _BITRATE,
            Words(
                "bit/s of Opus output, {low} to {high}",
                "Opus 输出的比特率（bit/s），{low} 到 {high}",
            ),
            clients=("python",),
        ),
    ] = _BITRATE.default
    voice: Annotated[
        VoiceChoice | None,
        Asked(
            VOICE,
            Words(
                "name of a voice that the server has, or a [blend](#blends): names with weights",
                "服务器已有音色的名称，或[混合音色](#混合音色)：名称及权重",
            ),
            otherwise=Words("the server's default", "服务器的默认音色"),
            simple="voice",
            example="ref-24k",
        ),
    ] = None
    pitch_shift: Annotated[
        float,
        Asked(
            PITCH_SHIFT,
            Words(
                "semitones, {low} to {high}, on top of the match to the voice's register",
                "半音数，{low} 到 {high}，叠加在对目标音色音域的自动匹配之上",
            ),
        ),
    ] = PITCH_SHIFT.default
    trim_delay: Annotated[
        bool,
        Asked(
            Flag(default=True),
            Words(
                "true: output starts at the first sample of the input and lasts as long as the "
                "input. false: it starts with `delay_ms` of silence and lasts that much longer",
                "true：输出从输入的第一个样本开始，时长与输入相同。false：输出以 `delay_ms` 的静音"
                "开始，并相应更长",
            ),
            clients=("python",),
        ),
    ] = True
    realtime: Annotated[
        bool,
        Asked(
            Flag(default=True),
            Words(
                "true: a live conversation. false: an upload; it is slowed down when the server is "
                "busy, but none of it is ever silenced",
                "true：实时对话。false：上传；服务器繁忙时会被放慢，但绝不会被静音",
            ),
        ),
    ] = True
    seed: Annotated[
        int,
        Asked(
            _SEED,
            Words(
                "seed of the noise in the voice; the same audio and seed give the same output",
                "语音中噪声的种子；相同的音频与种子得到相同的输出",
            ),
        ),
    ] = _SEED.default
    record: Annotated[
        bool | None,
        Asked(
            Flag(default=None),
            Words(
                "false: do not record this session, whatever the server's setting",
                "false：无论服务器如何设置，都不录制本会话",
            ),
            otherwise=Words("the server's setting", "服务器的设置"),
            example=False,
            clients=("python",),
        ),
    ] = None
    label: Annotated[
        str | None,
        Asked(
            NAME,
            Words(
                "1 to {longest} characters, no control characters; echoed in `ready` and kept in "
                "the timeline of a recording, never logged",
                "1 到 {longest} 个字符，不含控制字符；在 `ready` 中原样返回，并保存在录音的"
                "时间线中，不写入日志",
            ),
            example="customer 4711, line 2",
        ),
    ] = None
    source_f0_hz: Annotated[
        float | None,
        Asked(
            _SOURCE_F0_HZ,
            Words(
                "the register of the speaker, if it is known: median F0 in Hz, {low} to {high}, as "
                "an earlier session has told it at its end, or as measured in a recording",
                "说话人的音域（若已知）：F0 中位数（Hz），{low} 到 {high}；可取此前会话结束时"
                "给出的值，或从录音中测得",
            ),
            otherwise=Words("estimated as they speak", "边说边估计"),
            simple="source_f0_hz",
            example=118.5,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The server's answer: what the session is and what it costs in time."""

    session_id: Annotated[
        str,
        Told(
            NAME,
            Words("As asked for, or made by the server."),
            assumed="",
            example="call-4711",
        ),
    ]
    message: Annotated[
        str,
        Told(
            TEXT,
            Words("A sentence for a person."),
            assumed="",
            example="session is ready, send audio",
        ),
    ]
    sample_rate_out: Annotated[
        int, Told(_RATE_OUT, Words("Hz of the audio to come."), assumed=None, example=24_000)
    ]
    encoding_out: Annotated[
        Encoding, Told(_ENCODING, Words("Its encoding."), assumed=None, example="PCM")
    ]
    opus_pre_skip_samples: Annotated[
        int,
        Told(
            COUNT,
            Words("Decoded samples to drop from the start of Opus output."),
            assumed=0,
            example=0,
        ),
    ]
    voice: Annotated[
        VoiceChoice,
        Told(
            VOICE,
            Words("The voice in use; of a blend names with shares."),
            assumed=None,
            example="ref-24k",
        ),
    ]
    engine: Annotated[str, Told(TEXT, Words("The server's engine."), assumed=None, example="world")]
    block_ms: Annotated[
        float,
        Told(
            MILLISECONDS,
            Words("Audio the server converts at a time: a sample waits until its block is full."),
            assumed=None,
            example=200.0,
        ),
    ]
    delay_ms: Annotated[
        float,
        Told(
            MILLISECONDS,
            Words("By how much output trails its input, the block itself not counted."),
            assumed=None,
            example=84.0,
        ),
    ]
    latency_ms: Annotated[
        float,
        Told(
            MILLISECONDS,
            Words("`block_ms` + `delay_ms`; computing and network come on top."),
            assumed=None,
            example=284.0,
        ),
    ]
    recording: Annotated[
        bool,
        Told(TRUTH, Words("Whether the server records the session."), assumed=None, example=False),
    ]
    max_message_bytes: Annotated[
        int, Told(NUMBER, Words("Longest message."), inside="limits", example=1_048_576)
    ]
    idle_timeout_s: Annotated[
        float,
        Told(NUMBER, Words("Longest time without a message."), inside="limits", example=120.0),
    ]
    max_session_s: Annotated[
        float, Told(NUMBER, Words("Longest session; 0: no limit."), inside="limits", example=0.0)
    ]
    max_buffered_ms: Annotated[
        float,
        Told(
            NUMBER,
            Words("How far a client may run ahead of its own clock."),
            inside="limits",
            example=2000.0,
        ),
    ]
    server_version: Annotated[
        str, Told(TEXT, Words("The server's version."), assumed=None, example="0.3.0")
    ]
    label: Annotated[
        str | None,
        Told(NAME, Words("As asked for."), assumed=None, example="customer 4711, line 2"),
    ] = None
