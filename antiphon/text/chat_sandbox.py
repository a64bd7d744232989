"""Where chat templates run: jinja's sandbox, with limits on how much a template does and writes."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError as JinjaSecurityError
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from antiphon.errors import AntiphonError, ParamError, SecurityError, TokenizerError

MAX_CHARACTERS = 16_000_000
"""Of text, for the longest of conversations."""
MAX_ROUNDS = 100_000
"""Of all loops together."""
_MAX_NUMBER = 1_000_000  # as a count or width: what a template multiplies or fills up

_WORK = "antiphon_work"


class Work:
    """What one rendering may still do. It lies in the template's variables, and its loops count down."""

    def __init__(self) -> None:
        self._rounds = 0

    def count(self) -> str:
        """One round of a loop; nothing to write."""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise JinjaSecurityError(f"more than {MAX_ROUNDS} rounds of loops")
        return ""

    def text_of(self, template: jinja2.Template, **variables: Any) -> str:
        """What the template writes; the library's own errors."""
        pieces: list[str] = []
        length = 0
        for piece in template.generate(**{_WORK: self}, **variables):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_CHARACTERS:
                raise JinjaSecurityError(f"more than {MAX_CHARACTERS} characters")
        return "".join(pieces)


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Turns what a template raises inside the block into our errors."""
    try:
        yield
    except AntiphonError:
        raise
    except (JinjaSecurityError, RecursionError, MemoryError, OverflowError) as error:
        raise SecurityError(
            f"the chat template was stopped: {error or type(error).__name__}",
            expected="a template that writes a conversation and nothing else",
            fix="Take the template from the model's publisher",
        ) from error
    except TemplateError as error:
        raise ParamError(f"the chat template refuses this conversation: {error}") from error
    except Exception as error:  # a template is a program, and raises whatever Python does
        raise ParamError(
            f"the chat template fails on this conversation: {type(error).__name__}: {error}",
            expected="messages with the roles and the parts that the template knows",
        ) from error


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja's sandbox, in which every round of a loop counts and numbers that would fill the memory are refused."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            counting = nodes.Call(nodes.Getattr(nodes.Name(_WORK, "load"), "count", "load"), [], [], None, None)
            loop.body.insert(0, nodes.Output([counting]))
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            _check_form(left)
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "**" or not numbers:
            for value in (left, right):
                if isinstance(value, int) and not abs(value) <= _MAX_NUMBER:
                    raise JinjaSecurityError(f"{operator} with {value!r}")
        if operator == "**" and not abs(right) <= 64:
            raise JinjaSecurityError(f"** {right!r}")
        if operator == "*" and not numbers:
            self._check_size(left, right)
            self._check_size(right, left)
        return super().call_binop(context, operator, left, right)

    @staticmethod
    def _check_size(value: Any, times: Any) -> None:
        if isinstance(times, int) and hasattr(value, "__len__") and len(value) * times > MAX_CHARACTERS:
            raise JinjaSecurityError(f"{len(value)} values {times} times")

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # as jinja has it
        _check_arguments(args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Any:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_form(value.__self__)
        return wrapped


def _check_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and not abs(value) <= _MAX_NUMBER:
            raise JinjaSecurityError(f"the number {value!r} as an argument")


def _check_form(form: Any) -> None:
    """Refuses a text that others are put into when it states a width of a million, or leaves the width to them."""
    if re.search(r"\d{7}|%\S*\*|:[^}]*\{", str(form)):
        raise JinjaSecurityError(f"the widths in {str(form)[:40]!r}")


class _Generation(Extension):
    """``{% generation %}`` ... ``{% endgeneration %}``: marks around what stands between."""

    tags = {"generation"}  # noqa: RUF012  # as jinja has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    @staticmethod
    def _marked(caller: Any) -> str:
        return f"\0[{caller()}\0]"


class _Namespace(Namespace):
    """A template's own variables; none of them has a name of Python's insides."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # as jinja has it, so that a template may name one "self"
        self, *given = args
        for name in dict(*given, **kwargs):
            _check_name(name)
        Namespace.__init__(self, *given, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if str(name).startswith("_"):
        raise JinjaSecurityError(f"a variable called {name!r}")


def _raise_exception(message: Any) -> None:
    raise TemplateError(str(message))


def _range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > MAX_ROUNDS:
        raise JinjaSecurityError(f"a range of {len(numbers)} numbers")
    return numbers


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # jinja's own filter writes < and > as escapes
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _made_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


@functools.lru_cache(maxsize=1)
def _sandbox() -> _Sandbox:
    sandbox = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    for name in ("center", "indent", "wordwrap", "format"):
        sandbox.filters[name] = _limited(sandbox.filters[name])
    sandbox.filters["tojson"] = _tojson
    sandbox.globals |= {
        "range": _range,
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "dict": _made_dict,
        "namespace": _Namespace,
    }
    del sandbox.globals["lipsum"]
    return sandbox


def _limited(function: Any) -> Any:
    """A filter that refuses widths without limit."""

    @functools.wraps(function)  # which keeps jinja's marks on it
    def limited(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(args, kwargs)
        if function.__name__ == "do_format":
            _check_form(args[0])
        return function(*args, **kwargs)

    return limited


def compiled(source: str) -> jinja2.Template:
    """The template of a text; ``TokenizerError`` where it is none."""
    try:
        return _sandbox().from_string(source)
    except TemplateSyntaxError as error:
        raise TokenizerError(
            f"the chat template cannot be read, line {error.lineno}: {error}", fix="Download its file again"
        ) from error
    except RecursionError as error:
        raise TokenizerError("the chat template is nested too deeply", fix="Download its file again") from error


def variables_of(source: str) -> frozenset[str]:
    """The names that a template asks for and does not set."""
    return frozenset(meta.find_undeclared_variables(_sandbox().parse(source))) - {_WORK}
