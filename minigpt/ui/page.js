// What the page does without its server: the address, and the panel of the tab "Tokens".
// Text of a model is only ever set as textContent.
() => {
  const LONGEST = 4000;
  let pending = {};
  let timer = null;
  let read = false; // whether the address has been read; before, nothing may change it
  const left_out = new Set();

  function remember(names, values, defaults) {
    if (!read) return;
    names.forEach((name, place) => {
      pending[name] = String(values[place] ?? "") === String(defaults[place] ?? "") ? null : values[place];
    });
    clearTimeout(timer); // browsers allow few changes of an address a second
    timer = setTimeout(write, 200);
  }

  function write() {
    clearTimeout(timer);
    const url = new URL(window.location.href);
    for (const [name, value] of Object.entries(pending)) {
      const long = String(value ?? "").length > LONGEST;
      if (long) left_out.add(name);
      else left_out.delete(name);
      if (value === null || value === "" || long) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    pending = {};
    window.history.replaceState(window.history.state, "", url);
  }

  async function copyLink() {
    write();
    const said = document.getElementById("mg-copied");
    try {
      await navigator.clipboard.writeText(window.location.href);
      said.textContent = left_out.size
        ? `Copied, without what is longer than ${LONGEST} characters: ${[...left_out].join(", ")}.`
        : "Copied.";
    } catch {
      said.textContent = "The browser does not allow it; the link is in its address bar.";
    }
  }

  const percent = (p) => (p >= 0.0995 ? (100 * p).toFixed(0) : (100 * p).toPrecision(2)) + " %";
  const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣");

  function add(parent, tag, name, text) {
    const element = document.createElement(tag);
    element.className = name;
    element.textContent = text ?? "";
    parent.append(element);
    return element;
  }

  function show(token) {
    const panel = document.getElementById("mg-panel");
    const facts = JSON.parse(token.dataset.token);
    panel.replaceChildren();
    add(panel, "strong", "", `${visible(facts.text)} · ${percent(facts.p)}`);
    const list = add(panel, "ol", "");
    for (const [text, p] of facts.alternatives) {
      const item = add(list, "li", text === facts.text ? "mg-chosen" : "");
      add(item, "span", "mg-share", percent(p));
      add(add(item, "span", "mg-track"), "div", "mg-bar").style.width = `${100 * p}%`;
      add(item, "code", "", visible(text));
    }
  }

  const tokenAt = (event) => event.target.closest?.('.mg-token[role="option"]');

  function select(token) {
    for (const other of token.parentElement.querySelectorAll('[aria-selected="true"]')) {
      other.setAttribute("aria-selected", "false");
      other.tabIndex = -1;
    }
    token.parentElement.firstElementChild.tabIndex = -1;
    token.tabIndex = 0;
    token.setAttribute("aria-selected", "true");
    show(token);
  }

  const STEPS = {
    ArrowRight: (token) => token.nextElementSibling,
    ArrowLeft: (token) => token.previousElementSibling,
    ArrowDown: (token) => token.nextElementSibling,
    ArrowUp: (token) => token.previousElementSibling,
    Home: (token) => token.parentElement.firstElementChild,
    End: (token) => token.parentElement.lastElementChild,
  };

  document.addEventListener("mouseover", (event) => {
    const token = tokenAt(event);
    if (token) show(token);
  });
  document.addEventListener("focusin", (event) => {
    const token = tokenAt(event);
    if (token) select(token);
  });
  document.addEventListener("click", (event) => tokenAt(event)?.focus());
  document.addEventListener("keydown", (event) => {
    const token = tokenAt(event);
    const next = token && STEPS[event.key]?.(token);
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });
  function open() {
    read = true;
    document.body.dataset.ready = "true";
  }

  // A text that grows is followed to its end, unless its reader has gone up.
  let placed = new WeakMap();
  function follow(box) {
    const gone_up = box.scrollTop < (placed.get(box) ?? 0) - 5;
    if (gone_up && box.scrollHeight - box.scrollTop - box.clientHeight > 30) return;
    box.scrollTop = box.scrollHeight;
    placed.set(box, box.scrollTop);
  }
  new MutationObserver((changes) => {
    const nodes = changes.map((change) => change.target.parentElement ?? change.target);
    new Set(nodes.map((node) => node.closest(".mg-text"))).forEach((box) => box && follow(box));
  }).observe(document.body, { childList: true, characterData: true, subtree: true });

  // Starts are counted here, in the order of the clicks: on their way, requests overtake each other.
  let starts = 0;
  function next() {
    placed = new WeakMap();
    return ++starts;
  }
  const last = () => starts;

  window.minigpt = { open, next, last, remember, copyLink };
}
