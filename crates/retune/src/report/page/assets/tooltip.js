// One small box beside what is pointed at.

const tooltip = (() => {
  const box = element("div", { class: "tooltip", role: "status", hidden: true });
  const hide = () => { box.hidden = true; };
  // Shows nodes near a place in the window.
  const show = (x, y, ...children) => {
    box.replaceChildren(...children.flat().filter(Boolean));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = x + 16 + width > innerWidth - 8 ? x - 16 - width : x + 16;
    const top = y + 16 + height > innerHeight - 8 ? y - 16 - height : y + 16;
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${Math.max(8, top)}px`;
  };
  addEventListener("scroll", hide, { passive: true });
  return { box, show, hide };
})();

// Calls `at(event)` where a pointer moves or a finger taps, and `leave` when it is gone: a pointer with its leaving, a
// finger with the next tap.
let leaveTapped = null;
addEventListener("pointerdown", () => { leaveTapped?.(); leaveTapped = null; }, { capture: true });
function whenPointed(node, at, leave) {
  const isTouch = (event) => event.pointerType === "touch";
  node.addEventListener("pointermove", (event) => { if (!isTouch(event)) at(event); });
  node.addEventListener("pointerup", (event) => {
    if (!isTouch(event)) return;
    at(event);
    leaveTapped = leave;
  });
  node.addEventListener("pointerleave", (event) => { if (!isTouch(event)) leave(); });
}

// Names and values, one pair a line.
const pairs = (...rows) => element("dl", {}, rows.map(([name, value]) =>
  [element("dt", {}, name), element("dd", {}, value)]));
