// A conversation as a tree: whoever edits or asks again makes a branch, and none is lost.

export class Tree {
  constructor(saved) {
    this.nodes = saved?.nodes ?? [{ parent: null, chosen: null }];
    // A page that was left while an answer came has what had come by then.
    for (const node of this.nodes) delete node.writing;
  }

  add(parent, role, content) {
    this.nodes.push({ parent, role, content, chosen: null });
    this.nodes[parent].chosen = this.nodes.length - 1;
    return this.nodes.length - 1;
  }

  // The numbers of the messages that are shown, in order.
  path() {
    const path = [];
    for (let at = this.nodes[0].chosen; at !== null; at = this.nodes[at].chosen) path.push(at);
    return path;
  }

  siblings(at) {
    const { parent } = this.nodes[at];
    return this.nodes.flatMap((node, i) => (i > 0 && node.parent === parent ? [i] : []));
  }

  // Shows the branch before or after this one.
  turn(at, by) {
    const siblings = this.siblings(at);
    const next = siblings[siblings.indexOf(at) + by];
    if (next !== undefined) this.nodes[this.nodes[at].parent].chosen = next;
  }

  // What was said up to and with a message.
  messages(at) {
    const said = [];
    for (; at !== 0; at = this.nodes[at].parent) said.unshift({ role: this.nodes[at].role, content: this.nodes[at].content });
    return said;
  }

  title() {
    return this.nodes.find((node) => node.role === "user")?.content.slice(0, 60) ?? "New chat";
  }
}
