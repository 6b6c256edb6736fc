// A small panel beside the board that the pointer or the keyboard is on.

export class Tooltip {
  constructor() {
    this.panel = document.createElement("div");
    this.panel.id = "tooltip";
    this.panel.hidden = true;
    this.panel.setAttribute("aria-hidden", "true");
    this.list = document.createElement("dl");
    this.panel.append(this.list);
    document.body.append(this.panel);
    addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
    addEventListener("scroll", () => this.hide(), { passive: true, capture: true });
  }

  show(lines, box) {
    if (!lines.length) return this.hide();
    const rows = lines.flatMap(([label, text]) => {
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = label;
      value.textContent = text;
      return [term, value];
    });
    this.list.replaceChildren(...rows);
    this.panel.hidden = false;
    const { width, height } = this.panel.getBoundingClientRect();
    const [wide, high] = [document.documentElement.clientWidth, innerHeight];
    const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, wide - width - 8));
    const above = box.top - height - 8;
    const top = above >= 8 ? above : Math.min(box.bottom + 8, high - height - 8);
    this.panel.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    return undefined;
  }

  hide() {
    this.panel.hidden = true;
  }
}
