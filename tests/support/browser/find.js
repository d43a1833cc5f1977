// The middle of an element that a person can see and reach, or what is in the way. It is there when it stays where it is.
async (css, text) => {
  const says = (element) =>
    [element.getAttribute('aria-label'), element.textContent, element.getAttribute('title')].some(
      (one) => one?.replace(/\s+/g, ' ').trim() === text,
    );
  const all = [...document.querySelectorAll(css)].filter((element) => text === null || says(element));
  const seen = all.filter((element) => element.checkVisibility({ visibilityProperty: true }));
  const found = seen.at(-1);
  if (!found) return `nothing to see of ${all.length}`;
  if (found.disabled) return 'disabled';
  found.scrollIntoView({ block: 'center', inline: 'nearest', behavior: 'instant' });
  const before = found.getBoundingClientRect();
  await new Promise((done) => requestAnimationFrame(done));
  const box = found.getBoundingClientRect();
  if (before.x !== box.x || before.y !== box.y || !found.isConnected) return 'it moves';
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const there = document.elementFromPoint(x, y);
  if (!there || !(found.contains(there) || there.contains(found))) return `behind ${there?.outerHTML.slice(0, 120)}`;
  return { x, y, left: box.x, top: box.y, width: box.width, height: box.height };
}
