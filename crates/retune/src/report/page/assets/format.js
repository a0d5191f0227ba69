// Numbers as people read them.

const whole = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

// Text with curly apostrophes.
const prose = (text) => text.replace(/(\p{L})'(?=\p{L})/gu, "$1’");

// Three significant digits; powers of ten where zeros would be many.
function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    const [digits, exponent] = value.toExponential(2).split("e");
    return `${Number(digits)}×10${superscript(Number(exponent))}`;
  }
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

const superscript = (exponent) => String(exponent).replace(/[-0-9]/g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
