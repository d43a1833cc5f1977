// Files that a page gives to a person, and that a person gives to a page.

/** Gives a text as a file. @param {string} name @param {string} text @param {string} [type] */
export function download(name, text, type = 'text/plain') {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement('a'), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** The files of a folder, by their paths. @param {FileSystemEntry} entry @param {Map<string, Blob>} found */
async function gather(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) =>
      /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject),
    );
    found.set(entry.fullPath.replace(/^\//, ''), file);
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const one of some) await gather(one, found);
  }
}

/** What was dropped: files and whole folders, by their paths. @param {DataTransfer} dropped @returns {Promise<Map<string, Blob>>} */
export async function dropped(dropped) {
  const entries = Array.from(dropped.items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  /** @type {Map<string, Blob>} */
  const found = new Map();
  for (const entry of entries) await gather(entry, found);
  return found;
}

/** What was chosen, by paths. @param {FileList | null} list @returns {Map<string, Blob>} */
export const chosen = (list) => new Map(Array.from(list ?? [], (file) => [file.webkitRelativePath || file.name, file]));
