// Numbers as people read them.

const whole = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

// Text as it is set: a number stays with its unit, a range is in one piece, and apostrophes are curly.
const prose = (text) => text
  .replace(/(\d) (?=%|points?\b)/g, "$1\u00a0")
  .replace(/(\d)–(?=\d)/g, "$1\u2060–\u2060")
  .replace(/(\p{L})'(?=\p{L})/gu, "$1’");

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
