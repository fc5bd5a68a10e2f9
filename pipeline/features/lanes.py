"""Vector instructions for numba: eight numbers side by side, each in its own lane.

A compiler does not turn the loops of a transform into vectors by itself, as it cannot know that
the arrays lie apart. So the steps between arrays are written down here as instructions on eight
lanes, by numba's ``intrinsic``; where a machine's vectors are shorter it takes two or four for one.
Every lane does the same operations in the same order.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LANES = 8
_I32 = ir.IntType(32)
F32 = ir.VectorType(ir.FloatType(), LANES)
F64 = ir.VectorType(ir.DoubleType(), LANES)
_FRACTION_BITS = 52  # of a float64
_ROOT_HALF_BITS = int.from_bytes(struct.pack(">d", 0.5**0.5))
FUSED = ("contract",)  # a product and a sum may be one instruction


class Code:
    """Writes instructions; a value is eight numbers, an array its address, a place an index."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def load(self, array: Any, place: Any, kind: Any = F64) -> Any:
        address = self.builder.gep(array, [place])
        return self.builder.load(self.builder.bitcast(address, kind.as_pointer()), align=4)

    def store(self, value: Any, array: Any, place: Any) -> None:
        address = self.builder.bitcast(self.builder.gep(array, [place]), F64.as_pointer())
        self.builder.store(value, address, align=8)

    def spread(self, array: Any, place: Any) -> Any:
        """One number of an array in all lanes."""
        number = self.builder.load(self.builder.gep(array, [place]))
        first = self.builder.insert_element(ir.Constant(F64, ir.Undefined), number, _I32(0))
        return self.builder.shuffle_vector(first, first, self._order([0] * LANES))

    def after(self, place: Any, count: Any) -> Any:
        return self.builder.add(place, place.type(count) if isinstance(count, int) else count)

    def times(self, place: Any, count: int) -> Any:
        return self.builder.mul(place, place.type(count))

    def every(self, number: float) -> Any:
        return ir.Constant(F64, [number] * LANES)

    def at_least(self, value: Any, least: float) -> Any:
        below = self.builder.fcmp_ordered("<", value, self.every(least))
        return self.builder.select(below, self.every(least), value)

    def parted(self, value: Any) -> tuple[Any, Any]:
        """e and m, with ``value`` = m 2^e and m from √½ to √2; of normal numbers above zero."""
        build, whole = self.builder, ir.VectorType(ir.IntType(64), LANES)
        bits = build.bitcast(value, whole)
        half = ir.Constant(whole, [_ROOT_HALF_BITS] * LANES)
        shift = ir.Constant(whole, [_FRACTION_BITS] * LANES)
        exponent = build.ashr(build.sub(bits, half), shift)
        m = build.bitcast(build.sub(bits, build.shl(exponent, shift)), F64)
        return build.sitofp(build.trunc(exponent, ir.VectorType(_I32, LANES)), F64), m

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=FUSED)

    def subtract(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=FUSED)

    def multiply(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=FUSED)

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Eight vectors to the eight of their first, second, ... numbers, half by half."""
        half = LANES // 2
        while half:
            upper = [k for k in range(LANES) if not k & half]
            low = [k if k in upper else k - half + LANES for k in range(LANES)]
            high = [k + half if k in upper else k + LANES for k in range(LANES)]
            for k in upper:
                pair = rows[k], rows[k + half]
                rows[k] = self.builder.shuffle_vector(*pair, self._order(low))
                rows[k + half] = self.builder.shuffle_vector(*pair, self._order(high))
            half //= 2
        return rows

    @staticmethod
    def _order(places: list[int]) -> Any:
        return ir.Constant(ir.VectorType(_I32, LANES), places)


@dataclass(frozen=True, slots=True)
class Complex:
    """Eight complex numbers while code is written."""

    code: Code
    real: Any
    imag: Any

    @classmethod
    def loaded(cls, code: Code, array: Any, place: Any) -> Complex:
        return cls(code, code.load(array, place), code.load(array, code.after(place, LANES)))

    @classmethod
    def spread(cls, code: Code, array: Any, place: Any) -> Complex:
        return cls(code, code.spread(array, place), code.spread(array, code.after(place, 1)))

    def store(self, array: Any, place: Any) -> None:
        self.code.store(self.real, array, place)
        self.code.store(self.imag, array, self.code.after(place, LANES))

    def __add__(self, other: Complex) -> Complex:
        add = self.code.add
        return Complex(self.code, add(self.real, other.real), add(self.imag, other.imag))

    def __sub__(self, other: Complex) -> Complex:
        subtract = self.code.subtract
        return Complex(self.code, subtract(self.real, other.real), subtract(self.imag, other.imag))

    def __mul__(self, other: Complex) -> Complex:
        multiply = self.code.multiply
        real = self.code.subtract(multiply(self.real, other.real), multiply(self.imag, other.imag))
        imag = self.code.add(multiply(self.real, other.imag), multiply(self.imag, other.real))
        return Complex(self.code, real, imag)

    def scaled(self, factor: float) -> Complex:
        every = self.code.every(factor)
        multiply = self.code.multiply
        return Complex(self.code, multiply(self.real, every), multiply(self.imag, every))

    def conjugate(self) -> Complex:
        return Complex(self.code, self.real, self.code.builder.fneg(self.imag))

    def turned(self) -> Complex:
        """Times -i."""
        return Complex(self.code, self.imag, self.code.builder.fneg(self.real))

    def power(self) -> Any:
        multiply = self.code.multiply
        return self.code.add(multiply(self.real, self.real), multiply(self.imag, self.imag))


def written(write: Callable[..., None]) -> Any:
    """A function of numba's that is the instructions which ``write(code, *arguments)`` writes.

    It takes arrays, of which ``write`` gets the addresses, and places in them.
    """

    def typed(_typing: Any, *kinds: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = [
                make_array(kind)(context, builder, value).data  # type: ignore[no-untyped-call]
                if kind != types.intp
                else value
                for kind, value in zip(signature.args, values, strict=True)
            ]
            write(Code(builder), *given)
            return context.get_dummy_value()

        taken = [kind if isinstance(kind, types.Array) else types.intp for kind in kinds]
        return types.void(*taken), generate

    typed.__signature__ = inspect.signature(write)  # type: ignore[attr-defined]
    return intrinsic(typed)
