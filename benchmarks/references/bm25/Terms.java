// Prints each line of the input, a tab, and the terms Lucene makes of it: "english" is Anserini's
// DefaultEnglishAnalyzer, "cjk" Lucene's CJKAnalyzer without stop words.
//
//   javac -cp anserini-0.22.1-fatjar.jar Terms.java        (the jar comes with `pip download pyserini==0.22.1`)
//   java -cp anserini-0.22.1-fatjar.jar:. Terms english < texts.txt > harness/scorer/src/lexical/lucene_english.tsv
//   java -cp anserini-0.22.1-fatjar.jar:. Terms cjk < cjk_texts.txt > harness/scorer/src/lexical/lucene_cjk.tsv

import io.anserini.analysis.DefaultEnglishAnalyzer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.StringJoiner;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.CharArraySet;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.cjk.CJKAnalyzer;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;

public class Terms {
  public static void main(String[] arguments) throws Exception {
    Analyzer analyzer = arguments[0].equals("english")
        ? DefaultEnglishAnalyzer.newDefaultInstance()
        : new CJKAnalyzer(CharArraySet.EMPTY_SET);
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream output = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      output.println(line + "\t" + terms(analyzer, line));
    }
  }

  private static String terms(Analyzer analyzer, String text) throws Exception {
    StringJoiner terms = new StringJoiner(" ");
    try (TokenStream stream = analyzer.tokenStream("text", text)) {
      CharTermAttribute term = stream.addAttribute(CharTermAttribute.class);
      stream.reset();
      while (stream.incrementToken()) {
        terms.add(term.toString());
      }
      stream.end();
    }
    return terms.toString();
  }
}
