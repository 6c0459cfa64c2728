// Which lines of each text the other lacks: a longest common subsequence of lines.
const LONGEST_DIFF = 1500;

// A mark for each line of one and of the other; null where a text is too long.
const differing = (one, other) => {
  const [a, b] = [one.split("\n"), other.split("\n")];
  const marks = [a.map(() => true), b.map(() => true)];
  if (a.length > LONGEST_DIFF || b.length > LONGEST_DIFF) return null;
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) {
      marks[0][i] = false;
      marks[1][j] = false;
      i += 1;
      j += 1;
    } else if (length[i + 1][j] >= length[i][j + 1]) i += 1;
    else j += 1;
  }
  return marks;
};
